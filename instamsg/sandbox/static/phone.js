// Keeps the chat fresh and sends without a reload. The page works without it.
"use strict";

const news = document.getElementById("news");
const compose = document.getElementById("compose");
let revision = news.dataset.revision;
let asking = false;

function show(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  for (const id of ["notice", "status"]) {
    const part = document.getElementById(id);
    if (part.innerHTML !== fresh.getElementById(id).innerHTML) part.replaceWith(fresh.getElementById(id));
  }
  const list = document.getElementById("messages");
  const wanted = [...fresh.getElementById("messages").children];
  const kept = new Set(wanted.map((item) => item.id));
  for (const item of [...list.children]) if (!kept.has(item.id)) item.remove();
  // Only what is new or changed is touched, so a screen reader says it once.
  for (const item of wanted) {
    const old = document.getElementById(item.id);
    if (!old) list.append(item);
    else if (old.outerHTML !== item.outerHTML) old.replaceWith(item);
  }
  toTheEnd();
}

function toTheEnd() {
  news.scrollTop = 0; // The list is laid out from its end.
}

async function ask() {
  if (asking || document.hidden) return;
  asking = true;
  try {
    const answer = await fetch(`${news.dataset.source}&after=${revision}`);
    if (answer.status === 200) {
      revision = answer.headers.get("X-Revision");
      show(await answer.text());
    }
  } catch {
    // The sandbox is restarting; the next second will tell.
  } finally {
    asking = false;
  }
}

compose.addEventListener("submit", async (event) => {
  event.preventDefault();
  const order = new URLSearchParams(new FormData(compose));
  order.set("what", event.submitter ? event.submitter.value : "text");
  try {
    const answer = await fetch(compose.action, { method: "POST", body: order });
    if (answer.ok && order.get("what") === "text") compose.elements.text.value = "";
  } catch {
    return; // What was typed stays in the box.
  }
  compose.elements.text.focus();
  await ask();
});

document.addEventListener("visibilitychange", ask);
setInterval(ask, 1000);
toTheEnd();

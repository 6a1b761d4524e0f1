// Keeps the chat fresh and sends without a reload. The page works without it.
"use strict";

const news = document.getElementById("news");
const compose = document.getElementById("compose");
let revision = news.dataset.revision;
let asking = false;

function show(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  for (const id of ["notice", "openers", "status"]) {
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
    else if (old.dataset.look !== item.dataset.look) replace(old, item);
  }
  toTheEnd();
}

function replace(old, item) {
  const held = old.contains(document.activeElement);
  old.replaceWith(item);
  // Whoever acted on this message by keyboard goes on from there.
  if (held) item.querySelector("summary")?.focus();
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

async function send(form, button) {
  const order = new URLSearchParams(new FormData(form));
  if (button?.name) order.set(button.name, button.value);
  try {
    const answer = await fetch(form.action, { method: "POST", body: order });
    if (!answer.ok) return;
  } catch {
    return; // What was typed stays in the box.
  }
  if (form === compose) {
    if (["text", "story_reply"].includes(order.get("what"))) compose.elements.text.value = "";
    compose.querySelector("details").open = false;
    compose.elements.text.focus();
  } else {
    // The focus stays with the message; a closed menu would drop it.
    const menu = form.closest("details");
    menu?.querySelector("summary").focus();
    menu?.removeAttribute("open");
  }
  await ask();
}

document.addEventListener("submit", (event) => {
  if (!event.target.matches("form.live")) return;
  event.preventDefault();
  send(event.target, event.submitter);
});

document.addEventListener("visibilitychange", ask);
setInterval(ask, 1000);
toTheEnd();

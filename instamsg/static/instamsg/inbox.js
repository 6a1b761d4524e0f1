// Keeps an open inbox current: asks what changed and swaps it in by element id.
// Without this script every page still works; one reloads it.

const PAUSE = 2000;
const QUIET_PAUSE = 6000; // Reached step by step while nothing is new.
const LONGEST_PAUSE = 60000;
const TYPING_PAUSE = 12000; // Instagram shows it for 20 seconds.

const byId = (id) => document.getElementById(id);
const list = byId("conversations");
const thread = byId("thread");
const composer = byId("composer");
const LOGGED_OUT = new Error("logged out");

// --- News ---------------------------------------------------------------------------------------

let pause = PAUSE;
let timer = null;
let isAsking = false;

async function poll() {
  clearTimeout(timer);
  if (document.hidden || isAsking) return;
  isAsking = true;
  try {
    // The thread first: asking for it marks it as read, which the list then shows.
    const isAnswered = thread && (await ask(thread, showMessages));
    const isNew = (await ask(list, showList)) || isAnswered;
    byId("offline").textContent = "";
    byId("logged-out").hidden = true;
    pause = isNew ? PAUSE : Math.min(pause * 1.1, QUIET_PAUSE);
  } catch (error) {
    if (error === LOGGED_OUT) {
      byId("logged-out").hidden = false;
      return; // Coming back to the tab asks again.
    }
    byId("offline").textContent = "The connection is lost. Trying again…";
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  } finally {
    isAsking = false;
  }
  timer = setTimeout(poll, pause);
}

async function ask(place, show) {
  const url = new URL(place.dataset.url, location);
  url.searchParams.set("after", place.dataset.change);
  const response = await fetch(url, { signal: AbortSignal.timeout(15000) });
  if (response.status === 401) throw LOGGED_OUT;
  if (response.status === 404) location.reload(); // No longer ours to see: the page says so.
  if (!response.ok) throw new Error(response.status);
  const worker = response.headers.get("X-Worker");
  if (worker) byId("workers-away").hidden = worker !== "away";
  if (response.status === 204) return false;
  const template = document.createElement("template");
  template.innerHTML = await response.text();
  show(template.content);
  place.dataset.change = response.headers.get("X-Change");
  return true;
}

// --- The list -----------------------------------------------------------------------------------

function showList(news) {
  const current = list.querySelector("[aria-current]")?.id;
  const focused = list.contains(document.activeElement) && document.activeElement.id;
  const unread = Number(news.querySelector("[data-unread]").dataset.unread);
  list.replaceChildren(news);
  if (current) byId(current)?.setAttribute("aria-current", "page");
  if (focused) byId(focused)?.focus({ preventScroll: true });
  byId("unread").textContent = unread ? `${unread} new` : "";
  if (!thread) document.title = document.title.replace(/^(\(\d+\) )?/, unread ? `(${unread}) ` : "");
}

// --- The thread ---------------------------------------------------------------------------------

const stamp = (item) => Number(item.dataset.timestamp);
const messages = () => [...thread.querySelectorAll(".message")];

function showMessages(news) {
  const scroller = byId("scroller");
  // A reversed scroller counts from its end, where it stays by itself.
  const isAtEnd = scroller.scrollTop > -40;
  const fromTop = scroller.scrollHeight + scroller.scrollTop;
  const said = [];
  for (const item of [...news.querySelectorAll(".message")]) {
    const old = byId(item.id);
    if (!old && !belongs(item)) continue;
    if (!old && composer.hasAttribute("data-closed") && item.matches(".in")) location.reload();
    said.push(old ? item.querySelector(".state")?.textContent : item.textContent);
    place(item, old);
  }
  ["seen", "window", "automation"].forEach((id) => swap(byId(id), news.getElementById(id)));
  markDays();
  if (!isAtEnd) scroller.scrollTop = fromTop - scroller.scrollHeight;
  byId("announcer").textContent = said.filter(Boolean).join(" ").replace(/\s+/g, " ");
}

function swap(old, part) {
  if (old && part && old.textContent !== part.textContent) old.replaceWith(part);
}

function belongs(item) {
  const { latest, earlier } = thread.dataset;
  const first = messages()[0];
  return latest !== undefined && !(earlier !== undefined && first && stamp(item) < stamp(first));
}

function place(item, old) {
  if (old && stamp(old) === stamp(item)) return old.replaceWith(item);
  old?.remove();
  thread.insertBefore(item, messages().find((other) => stamp(other) > stamp(item)) ?? null);
}

function markDays() {
  thread.querySelectorAll(".day").forEach((day) => day.remove());
  let last = null;
  for (const item of messages()) {
    if (item.dataset.day !== last) {
      const day = document.createElement("li");
      day.className = "day";
      day.textContent = last = item.dataset.day;
      item.before(day);
    }
  }
}

// --- The composer: Enter, the count, and a draft that survives a reload ---------------------------

if (composer && !composer.hasAttribute("data-closed")) {
  const { text } = composer.elements;
  const count = byId("count");
  const draft = `draft ${location.pathname}`;
  const hasKeyboard = matchMedia("(pointer: fine)").matches;
  if (hasKeyboard) byId("keys").hidden = false;

  const update = () => {
    const bytes = new TextEncoder().encode(text.value.trim()).length;
    count.textContent = bytes ? `${bytes} of 1000 bytes` : "";
    count.classList.toggle("over", bytes > 1000);
    text.value ? sessionStorage.setItem(draft, text.value) : sessionStorage.removeItem(draft);
  };
  let toldAt = 0;
  const tell = () => {
    if (!text.value || Date.now() - toldAt < TYPING_PAUSE) return;
    toldAt = Date.now();
    const body = new URLSearchParams({ csrfmiddlewaretoken: composer.elements.csrfmiddlewaretoken.value });
    fetch(composer.dataset.typing, { method: "POST", body }).catch(() => {}); // A courtesy.
  };
  const choose = () => {
    const names = [...composer.elements.files.files].map((file) => file.name);
    byId("chosen").textContent = names.length ? `: ${names.join(", ")}` : "";
  };
  text.value ||= sessionStorage.getItem(draft) ?? "";
  update();
  text.addEventListener("input", update);
  text.addEventListener("input", tell);
  composer.elements.files.addEventListener("change", choose);
  text.addEventListener("paste", (event) => {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    composer.elements.files.files = event.clipboardData.files;
    composer.querySelector(".more").open = true;
    choose();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || !hasKeyboard) return;
    event.preventDefault();
    composer.requestSubmit();
  });
  composer.addEventListener("submit", () => {
    sessionStorage.removeItem(draft);
    sessionStorage.setItem("answered", location.pathname);
  });
  if (sessionStorage.getItem("answered") === location.pathname) text.focus();
  sessionStorage.removeItem("answered");
}

// A page from the browser's memory may hold an answer that was sent already.
addEventListener("pageshow", (event) => event.persisted && location.reload());
document.addEventListener("visibilitychange", poll);
for (const current of document.querySelectorAll(".sidebar [aria-current]")) {
  current.scrollIntoView({ block: "nearest", inline: "nearest" });
}
timer = setTimeout(poll, PAUSE);

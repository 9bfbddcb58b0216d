// The page is complete as it comes. This file puts newer texts into it as the
// collector sends them, and says when nothing comes any more.
"use strict";

const silence = 35_000; // ms without a message after which the connection counts as lost
const quiet = 60_000; // ms between two sentences for screen readers, at least
const again = 5_000; // ms until a refused stream is tried again

let source = null;
let heard = 0; // when the last message came, on the browser's monotonic clock
let said = 0;
let known = {}; // cells by key

const main = () => document.querySelector("main");
const text = (key) => document.querySelector(`[data-key="${key}"]`)?.textContent ?? "";

function write(key, cell) {
  for (const e of document.querySelectorAll(`[data-key="${CSS.escape(key)}"]`)) {
    if (e.tagName === "rect") {
      for (const [name, value] of [["y", cell.y], ["height", cell.h], ["width", cell.w]]) {
        if (value !== undefined) e.setAttribute(name, value);
      }
      continue;
    }
    e.textContent = cell.t ?? "";
    if (cell.s) e.dataset.state = cell.s;
    else delete e.dataset.state;
  }
}

// renew fetches the page and takes over its main part: it has rows that this one
// does not have.
async function renew() {
  const answer = await fetch(location.href);
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
  if (!fresh) return;
  const open = [...document.querySelectorAll("details[open]")].map((d) => d.id);
  main().replaceWith(document.adoptNode(fresh));
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  for (const [key, cell] of Object.entries(known)) write(key, cell);
  connected(true);
}

function connected(yes) {
  const lost = document.getElementById("lost");
  const live = document.getElementById("live");
  if (live) live.hidden = !yes;
  if (yes !== lost.hidden) {
    lost.hidden = yes;
    lost.textContent = yes ? "" : `Connection lost since ${text("at")}: these are the figures of then. Trying again.`;
  }
}

// say tells those who listen, seldom enough to be borne.
function say() {
  const now = performance.now();
  if (said && now - said < quiet) return;
  said = now;
  const output = document.getElementById("said");
  if (output && text("power")) output.textContent = `Power now ${`${text("power")} ${text("power-unit")}`.trim()}, claimable ${text("claimable")} kWh, reductions ${text("ER")} tonnes of CO₂.`;
}

async function take(event) {
  heard = performance.now();
  const message = JSON.parse(event.data);
  Object.assign(known, message.cells);
  if (message.shape !== main().dataset.shape) {
    await renew();
  } else {
    for (const [key, cell] of Object.entries(message.cells)) write(key, cell);
    connected(true);
  }
  say();
}

function listen() {
  source?.close();
  source = new EventSource(main().dataset.events);
  source.onmessage = (event) => take(event).catch(() => connected(false));
  source.onerror = () => {
    connected(false);
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, again);
  };
}

setInterval(() => {
  if (heard && performance.now() - heard > silence) {
    connected(false);
    heard = performance.now();
    listen();
  }
}, 1_000);

listen();

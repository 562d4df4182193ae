// Adds new entries on top of the list. The server sends them as escaped HTML.
"use strict";

const SHOWN = 100;
const stream = document.getElementById("stream");
const empty = document.getElementById("empty");
const pulse = document.getElementById("pulse");
const pause = document.getElementById("pause");
const form = document.querySelector(".filters");
let position = stream.dataset.after;
let source;

function show(message) {
  position = message.lastEventId;
  const rows = document.createRange().createContextualFragment(message.data);
  for (const row of rows.children) row.classList.add("new");
  tellTimes(rows);
  empty.hidden = true;
  stream.prepend(rows);
  while (stream.children.length > SHOWN) stream.lastElementChild.remove();
}

function state(name, words) {
  pulse.dataset.state = name;
  pulse.textContent = words;
}

function follow() {
  source = new EventSource(`/live/stream?after=${position}&${stream.dataset.query}`);
  source.addEventListener("open", () => state("live", "listening"));
  source.addEventListener("error", () => state("lost", "reconnecting"));
  source.addEventListener("message", show);
}

pause.addEventListener("click", () => {
  const paused = pause.getAttribute("aria-pressed") !== "true";
  pause.setAttribute("aria-pressed", paused);
  pause.textContent = paused ? "Resume" : "Pause";
  if (paused) {
    source.close();
    state("paused", "paused");
  } else follow();
});

form.addEventListener("change", () => form.requestSubmit());
form.addEventListener("submit", () => {
  for (const input of form.querySelectorAll("input")) if (!input.value) input.disabled = true;
});

follow();

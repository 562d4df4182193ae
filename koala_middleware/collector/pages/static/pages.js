// Times in the reader's time zone, and keyboard shortcuts. Pages work without it.
"use strict";

const clockFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const fullFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const dayFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "full" });
const dateFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const agoFormat = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "narrow" });
const STEPS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

function ago(moment) {
  const seconds = (moment - Date.now()) / 1000;
  if (Math.abs(seconds) > 30 * 86400) return dateFormat.format(moment);
  const [unit, length] = STEPS.find(([, each]) => Math.abs(seconds) >= each) ?? ["second", 1];
  return agoFormat.format(Math.round(seconds / length), unit);
}

function tell(time) {
  const moment = new Date(time.dateTime);
  if ("ago" in time.dataset) time.textContent = ago(moment);
  else if ("full" in time.dataset) time.textContent = fullFormat.format(moment);
  else if ("day" in time.dataset) time.textContent = dayFormat.format(moment);
  else time.textContent = clockFormat.format(moment);
  time.title = fullFormat.format(moment);
}

function tellTimes(root = document) {
  root.querySelectorAll("time[datetime]").forEach(tell);
}

// The server groups a timeline by days in UTC; here they become the reader's.
function regroupDays(timeline) {
  timeline.querySelectorAll(":scope > .day").forEach((day) => day.remove());
  let shown;
  for (const entry of [...timeline.querySelectorAll(":scope > .entry")]) {
    const moment = new Date(entry.querySelector("time").dateTime);
    const name = dayFormat.format(moment);
    if (name === shown) continue;
    shown = name;
    const day = document.createElement("li");
    day.className = "day";
    const time = document.createElement("time");
    time.dateTime = moment.toISOString();
    time.dataset.day = "";
    day.append(time);
    entry.before(day);
  }
}
document.querySelectorAll(".timeline").forEach(regroupDays);

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) break; // https and localhost only
  button.hidden = false;
  button.addEventListener("click", async (event) => {
    event.preventDefault();
    await navigator.clipboard.writeText(button.previousElementSibling.textContent);
    button.textContent = "Copied";
  });
}

tellTimes();
setInterval(() => document.querySelectorAll("time[data-ago]").forEach(tell), 10_000);

const help = document.getElementById("help");
document.querySelector("[data-help]")?.addEventListener("click", () => help.showModal());

function step(by) {
  const rows = [...document.querySelectorAll(".entry summary, tbody .who")];
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement);
  const next = rows[Math.min(rows.length - 1, Math.max(0, at + by))];
  next.focus();
  next.scrollIntoView({ block: "nearest" });
}

const KEYS = {
  j: () => step(1),
  k: () => step(-1),
  "/": () => document.querySelector("[data-search]")?.select(),
  p: () => document.getElementById("pause")?.click(),
  "?": () => help.showModal(),
};
document.querySelectorAll("nav[aria-label=Sections] a").forEach((link, index) => { KEYS[index + 1] = () => link.click(); });

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, dialog")) return;
  if (!KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});

// SPDX-License-Identifier: Apache-2.0
// Live parts of a page: what is open stays open, what is typed stays typed, times are the reader's own, and the page says whether it
// is live.

import htmx from "htmx.org";
import "htmx-ext-sse";

const FORMAT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
let open = [];
let typed = [];
let focused = null;

function localise(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const instant = new Date(time.dateTime);
    if (Number.isNaN(instant.valueOf())) continue;
    time.title = time.dateTime;
    time.textContent = FORMAT.format(instant);
  }
}

// A start is scheduled in UTC, as everywhere; beside it stands what that is on the reader's clock.
function echo() {
  for (const output of document.querySelectorAll("output[data-of]")) {
    const instant = new Date(`${document.getElementById(output.dataset.of)?.value}Z`);
    output.textContent = Number.isNaN(instant.valueOf()) ? "" : `${FORMAT.format(instant)} on your clock`;
  }
}

function say(state, words) {
  const live = document.getElementById("live");
  if (!live || live.dataset.state === state) return;
  live.dataset.state = state;
  live.textContent = words;
}

document.addEventListener("htmx:sseBeforeMessage", (event) => {
  const part = event.target;
  open = [...part.querySelectorAll("details[open][id]")].map((found) => found.id);
  typed = [...part.querySelectorAll("input[id]")].map((found) => [found.id, found.value]);
  const active = part.contains(document.activeElement) ? document.activeElement : null;
  focused = active && (active.id || active.closest("details[id]")?.id);
});

document.addEventListener("htmx:sseMessage", (event) => {
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  for (const [id, value] of typed) {
    const field = document.getElementById(id);
    if (field && value && !field.value) field.value = value;
  }
  const found = focused && document.activeElement === document.body ? document.getElementById(focused) : null;
  (found?.matches("details") ? found.querySelector("summary") : found)?.focus();
  localise(event.target);
  echo();
});

document.addEventListener("htmx:sseOpen", () => say("on", "live"));
document.addEventListener("htmx:sseError", () => say("off", "reconnecting"));
// A page that is being left has nothing more to hear: a stream that ends under it, as on logging out, is no error.
document.addEventListener("submit", (event) => {
  if (!event.defaultPrevented) htmx.trigger("#main", "htmx:beforeCleanupElement");
});
document.addEventListener("input", echo);
document.addEventListener("DOMContentLoaded", () => {
  localise(document);
  echo();
  document.querySelector(".refusal")?.scrollIntoView({ block: "center" });
});

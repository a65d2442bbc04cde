// SPDX-License-Identifier: Apache-2.0
// Live parts of a page: what is open stays open, times are the reader's own, and the page says whether it is live.

import htmx from "htmx.org";
import "htmx-ext-sse";

const FORMAT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
let open = [];
let focused = null;

function localise(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const instant = new Date(time.dateTime);
    if (Number.isNaN(instant.valueOf())) continue;
    time.title = time.dateTime;
    time.textContent = FORMAT.format(instant);
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
  focused = part.contains(document.activeElement) ? document.activeElement.closest("details[id]")?.id : null;
});

document.addEventListener("htmx:sseMessage", (event) => {
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (focused && document.activeElement === document.body) document.getElementById(focused)?.querySelector("summary")?.focus();
  localise(event.target);
});

document.addEventListener("htmx:sseOpen", () => say("on", "live"));
document.addEventListener("htmx:sseError", () => say("off", "reconnecting"));
// A page that is being left has nothing more to hear: a stream that ends under it, as on logging out, is no error.
document.addEventListener("submit", (event) => {
  if (!event.defaultPrevented) htmx.trigger("#main", "htmx:beforeCleanupElement");
});
document.addEventListener("DOMContentLoaded", () => localise(document));

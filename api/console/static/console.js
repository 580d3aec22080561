// The console works without this. It keeps the overview fresh, fills in amounts, copies keys, and asks
// before what cannot be undone.
"use strict";

// "Lasts" and "today" change by themselves.
const TIME_GOES_BY_MS = 60_000;

function follow(region) {
  const source = new EventSource(region.dataset.live);
  source.addEventListener("changed", () => refresh(region));
  // Once closed for good, the session is over: asking for the piece leads to the door.
  source.addEventListener("error", () => source.readyState === EventSource.CLOSED && refresh(region));
  setInterval(() => refresh(region), TIME_GOES_BY_MS);
  document.addEventListener("visibilitychange", () => refresh(region));
}

function refresh(region) {
  if (document.hidden) return;
  const asked = (region.asked = (region.asked ?? 0) + 1);
  fetch(region.dataset.piece, { headers: { "X-Fragment": "1" }, credentials: "same-origin" })
    .then(async (answer) => {
      if (answer.status === 401) return location.reload();
      const html = await answer.text();
      if (answer.ok && asked === region.asked) show(region, html);
    })
    .catch(() => undefined);
}

function show(region, html) {
  if (html === region.shown) return;
  // The focus stays on the link where it was.
  const link = region.contains(document.activeElement) && document.activeElement.getAttribute("href");
  region.shown = html;
  region.innerHTML = html;
  if (link) region.querySelector(`a[href="${CSS.escape(link)}"]`)?.focus({ preventScroll: true });
}

for (const region of document.querySelectorAll("[data-live]")) follow(region);

function fill(choice) {
  const field = document.getElementById(choice.dataset.fills);
  if (field) field.value = choice.value;
}

// Somebody may have chosen before this was loaded.
for (const choice of document.querySelectorAll("[data-fills]:checked")) fill(choice);
document.addEventListener("change", (event) => fill(event.target));

document.addEventListener("input", (event) => {
  for (const choice of document.querySelectorAll(`[data-fills="${event.target.id}"]`)) {
    choice.checked = choice.value === event.target.value;
  }
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copies]");
  if (!button) return;
  navigator.clipboard.writeText(document.getElementById(button.dataset.copies).textContent).then(() => {
    button.querySelector("span").textContent = "Copied";
  });
});

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

function showWhereWeAre() {
  document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
}

showWhereWeAre();
addEventListener("resize", showWhereWeAre);

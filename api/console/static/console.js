// The console works without this. It keeps the overview fresh, fills in amounts, copies keys, and asks
// before what cannot be undone.
"use strict";

function refresh(region) {
  const again = () => setTimeout(() => refresh(region), Number(region.dataset.every) * 1000);
  if (document.hidden) return again();
  fetch(region.dataset.live, { headers: { "X-Fragment": "1" }, credentials: "same-origin" })
    .then((answer) => {
      if (answer.status === 401) return location.reload();
      return answer.ok ? answer.text().then((html) => show(region, html)) : undefined;
    })
    .catch(() => undefined)
    .then(again);
}

function show(region, html) {
  // What has not changed stays as it is: so the focus stays where it is too.
  if (html === region.shown || region.contains(document.activeElement)) return;
  region.shown = html;
  region.innerHTML = html;
}

for (const region of document.querySelectorAll("[data-live]")) refresh(region);

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

document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

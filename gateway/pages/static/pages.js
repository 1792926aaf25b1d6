// What the pages do beside htmx. Without this file, and without htmx, every page works as plain HTML.
"use strict";

const root = document.documentElement;
const themes = ["light", "dark"];

function readTheme() {
  try {
    return localStorage.getItem("rerank-theme");
  } catch {
    return null; // storage is forbidden
  }
}

function applyTheme(theme) {
  if (themes.includes(theme)) root.dataset.theme = theme;
  else delete root.dataset.theme; // as the system says
}

applyTheme(readTheme()); // before the first paint: this file is loaded in the head, not deferred

document.addEventListener("DOMContentLoaded", () => {
  const choice = document.getElementById("theme");
  choice.value = root.dataset.theme ?? "";
  choice.closest("[hidden]").hidden = false;
  choice.addEventListener("change", () => {
    applyTheme(choice.value);
    try {
      localStorage.setItem("rerank-theme", choice.value);
    } catch {
      // it counts for this page
    }
  });
});

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, textarea, select");
  const query = document.getElementById("query");
  if (event.key !== "/" || isTyping || !query || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  query.focus();
  query.select();
});

// a hit under the pointer or with the focus is traced on both sides
for (const [entered, left] of [["pointerover", "pointerout"], ["focusin", "focusout"]]) {
  const mark = (event, isOn) => {
    const hit = event.target.closest?.("[data-hit]")?.dataset.hit;
    for (const one of document.querySelectorAll("[data-hit]")) {
      one.classList.toggle("traced", isOn && one.dataset.hit === hit);
    }
  };
  document.addEventListener(entered, (event) => mark(event, true));
  document.addEventListener(left, (event) => mark(event, false));
}

// what is no page of ours is not put in its place: a form's answer is shown by itself, and a page that
// refreshes itself keeps what it knows and says so
document.addEventListener("htmx:after:request", (event) => {
  const { sourceElement, text } = event.detail.ctx;
  const wanted = sourceElement.getAttribute("hx-select").replace("#", "");
  const isPage = text.includes(`id="${wanted}"`);
  root.classList.toggle("stale", !isPage);
  if (isPage) return;
  event.preventDefault();
  if (sourceElement instanceof HTMLFormElement) sourceElement.submit();
});
document.addEventListener("htmx:error", () => root.classList.add("stale"));

"use strict";
// What the page does beside its figures: light or dark, links into closed folds, and paper.
(() => {
  const root = document.documentElement;
  const device = window.matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("scheme");
  const redraw = () => document.dispatchEvent(new Event("redraw"));
  const isDark = () => (root.dataset.scheme ? root.dataset.scheme === "dark" : device.matches);
  const name = () => (button.textContent = isDark() ? "Light colours" : "Dark colours");

  button.hidden = false;
  name();
  button.addEventListener("click", () => {
    root.dataset.scheme = isDark() ? "light" : "dark";
    name();
    redraw();
  });
  device.addEventListener("change", () => {
    name();
    redraw();
  });

  const unfold = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let each = target; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
    target?.querySelector(":scope > details.fold")?.setAttribute("open", "");
  };
  window.addEventListener("hashchange", unfold);
  unfold();

  // Paper is white, has no folds, and is narrower than a screen.
  const PAPER = 660;
  let before = null;
  window.addEventListener("beforeprint", () => {
    before = { scheme: root.dataset.scheme, closed: [...document.querySelectorAll("details:not([open])")] };
    root.dataset.scheme = "light";
    before.closed.forEach((each) => (each.open = true));
    document.querySelectorAll("[data-chart]").forEach((box) => {
      box.dataset.width = Math.min(box.clientWidth, PAPER);
    });
    redraw();
  });
  window.addEventListener("afterprint", () => {
    if (!before) return;
    if (before.scheme) root.dataset.scheme = before.scheme;
    else delete root.dataset.scheme;
    before.closed.forEach((each) => (each.open = false));
    document.querySelectorAll("[data-chart]").forEach((box) => delete box.dataset.width);
    redraw();
  });
})();

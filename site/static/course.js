// What the pages need of a script: frames of players, and what a keyboard needs to scroll.
"use strict";
const dark = matchMedia("(prefers-color-scheme: dark)");
const frames = () => document.querySelectorAll("iframe.player");
const theme = () => ({ light: "light", dark: "dark" })[document.body.dataset.theme] ?? (dark.matches ? "dark" : "light");
const tellTheme = () => frames().forEach((frame) => frame.contentWindow.postMessage({ minieng_theme: theme() }, "*"));

// A player tells its height, so that its frame needs no bar of its own, and gets the page's theme.
window.addEventListener("message", (event) => {
  const height = event.data && event.data.minieng_height;
  if (!Number.isFinite(height)) return;
  for (const frame of frames()) {
    if (frame.contentWindow === event.source) frame.style.height = Math.min(Math.max(height, 200), 4000) + 4 + "px";
  }
  tellTheme();
});

// What is wider than the page can be scrolled by keys, too.
const reachable = () => {
  for (const box of document.querySelectorAll("pre, .table-wrapper")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
};
addEventListener("DOMContentLoaded", () => {
  reachable();
  addEventListener("resize", reachable);
  document.querySelectorAll("details").forEach((box) => box.addEventListener("toggle", reachable));
  new MutationObserver(tellTheme).observe(document.body, { attributeFilter: ["data-theme"] });
  dark.addEventListener("change", tellTheme);
});

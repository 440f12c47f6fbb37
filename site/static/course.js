// A player tells its height, so that its frame needs no bar of its own.
"use strict";
window.addEventListener("message", (event) => {
  const height = event.data && event.data.minieng_height;
  if (!Number.isFinite(height)) return;
  for (const frame of document.querySelectorAll("iframe.player")) {
    if (frame.contentWindow === event.source) frame.style.height = Math.min(Math.max(height, 200), 4000) + 4 + "px";
  }
});

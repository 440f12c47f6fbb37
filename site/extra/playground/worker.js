"use strict";
// Python with the project's own wheel. Each message is JSON for minieng.playground.ask.reply, each answer its reply.
importScripts("pyodide/pyodide.js");
const bytes = async (address) => {
  const got = await fetch(address);
  if (!got.ok) throw new Error(`${address}: ${got.status}`);
  return got.arrayBuffer();
};
const python = (async () => {
  const [py, wheel] = await Promise.all([loadPyodide({ indexURL: new URL("pyodide/", location.href).href }), bytes("minieng.whl")]);
  py.unpackArchive(wheel, "wheel");
  return py.runPython("from minieng.playground.ask import reply; reply");
})();
onmessage = async ({ data }) => {
  try {
    const reply = await python;
    postMessage({ reply: reply(data) });
  } catch (problem) {
    postMessage({ failed: String(problem.message ?? problem).trim().split("\n").at(-1) });
  }
};

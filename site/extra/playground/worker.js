"use strict";
// Python with the project's own wheel. Each message is JSON for minieng.playground.ask.reply, each answer its reply.
// What it loads lies beside this file. For a page that was opened as a file, which may fetch nothing, tools/playground.py puts
// self.PACKED before this text: name → gzip in base64.
const HERE = self.PACKED ? "http://packed/" : new URL(".", location.href).href;

const TYPES = { wasm: "application/wasm", js: "text/javascript" };
const unpacker = () => {
  const { fetch, importScripts } = self, scripts = {};
  const unpack = async (name) => {
    const { body } = await fetch(`data:application/gzip;base64,${self.PACKED[name]}`);
    const headers = { "Content-Type": TYPES[name.split(".").at(-1)] ?? "application/octet-stream" };
    return new Response(body.pipeThrough(new DecompressionStream("gzip")), { headers });
  };
  self.fetch = (address) => unpack(String(address).slice(HERE.length));
  self.importScripts = (address) => importScripts(scripts[address]);
  const names = Object.keys(self.PACKED).filter((name) => name.endsWith(".js"));
  return Promise.all(names.map(async (name) => {
    scripts[HERE + name] = URL.createObjectURL(await (await unpack(name)).blob());
  }));
};

const bytes = async (address) => {
  const got = await fetch(address);
  if (!got.ok) throw new Error(`${address}: ${got.status}`);
  return got.arrayBuffer();
};
const python = (async () => {
  if (self.PACKED) await unpacker();
  importScripts(`${HERE}pyodide/pyodide.js`);
  const [py, wheel] = await Promise.all([loadPyodide({ indexURL: `${HERE}pyodide/` }), bytes(`${HERE}minieng.whl`)]);
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

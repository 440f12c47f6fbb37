// node pyodide_replies.mjs FOLDER WHEEL: reads a JSON list of texts from stdin, gives each to
// minieng.playground.ask.reply in Pyodide, prints the list of replies.
import fs from "node:fs";
import path from "node:path";
const [folder, wheel] = process.argv.slice(2);
const { loadPyodide } = await import(path.join(path.resolve(folder), "pyodide.mjs"));
const python = await loadPyodide({ indexURL: path.resolve(folder) });
python.unpackArchive(new Uint8Array(fs.readFileSync(wheel)), "wheel");
const reply = python.runPython("from minieng.playground.ask import reply; reply");
const asked = JSON.parse(fs.readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(asked.map((text) => reply(text))));

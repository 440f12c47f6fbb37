"use strict";
// Fields, and messages to the worker in which Python runs. All that is decided, counted and drawn is Python's:
// minieng.playground.ask, the same source as in a notebook.
const LONGEST = 30;  // seconds until a run is ended: an edited scheduler may loop for ever
const by = (id) => document.getElementById(id);
const NOTHING = "(nothing)";
const FROM_FILE = location.protocol === "file:";
let worker = null, waiting = null, face = null, started = 0;

const status = (text) => { by("status").textContent = text; };
const tell = (text) => {
  const box = document.createElement("p");
  box.setAttribute("role", "alert");
  box.textContent = text;
  by("shown").replaceChildren(box);
};
const usable = (yes) => ["run", "draw"].forEach((id) => { by(id).disabled = !yes; });
const options = (select, words) => select.replaceChildren(...words.map(([text, value]) => new Option(text, value ?? text)));

// -- Python, in a worker: the page stays alive, and a run that does not end can be ended --
// A page from a file may start no worker from another, so there the program, with all it loads, is in one script.
const packed = () => new Promise((done, failed) => {
  if (self.WORKER) return done(self.WORKER);
  const script = document.createElement("script");
  script.src = "playground/packed.js";
  script.onload = () => done(self.WORKER);
  script.onerror = () => failed(new Error("packed.js is missing"));
  document.head.append(script);
});
const start = async () => {
  started = performance.now();
  usable(false);
  status("Python is being loaded …");
  try {
    worker = new Worker(FROM_FILE ? URL.createObjectURL(new Blob([await packed()])) : "playground/worker.js");
  } catch (problem) {
    broken(problem.message);
    return new Promise(() => {});  // nothing to go on with
  }
  worker.onmessage = ({ data }) => {
    const { done, timer } = waiting ?? {};
    clearTimeout(timer);
    waiting = null;
    if (data.failed !== undefined) return broken(data.failed);
    done?.(data.reply);
  };
  worker.onerror = (event) => { event.preventDefault(); broken(event.message ?? "a file is missing"); };
  return ask({ do: "face" }, 120);
};
const broken = (why) => {
  clearTimeout(waiting?.timer);
  usable(false);
  status("");
  const other = FROM_FILE ? " Or run python3 -m http.server in the site's folder, and open what it names." : "";
  tell(`Python could not be loaded (${why}). It belongs into the folder "playground" beside this page: make site puts it there.${other}`);
};
const ask = (what, seconds = LONGEST) => new Promise((done) => {
  const timer = setTimeout(() => {
    worker.terminate();
    waiting = null;
    tell(`No answer within ${seconds} seconds: does a loop never end? Python is started again.`);
    start().then(ready);
  }, 1000 * seconds);
  waiting = { done: (reply) => done(JSON.parse(reply)), timer };
  worker.postMessage(JSON.stringify(what));
});
const ready = () => {
  usable(true);
  status(`Python was ready after ${((performance.now() - started) / 1000).toFixed(1)} s.`);
};

// -- a choice: scheduler, knobs, and a text box for a scheduler of one's own --
const choice = (name, title) => {
  const box = document.createElement("fieldset");
  box.innerHTML = `<legend>${title}</legend><label>scheduler <select id="${name}-scheduler"></select></label>
    <label>knobs <input id="${name}-knobs" placeholder="max_num_seqs=4, order=sjf" spellcheck="false" autocomplete="off"></label>
    <label id="${name}-own" hidden>your scheduler, in Python
    <textarea id="${name}-source" class="source" spellcheck="false"></textarea></label>`;
  by("choices").append(box);
  const words = name === "right" ? [NOTHING, ...face.schedulers] : face.schedulers;
  options(by(`${name}-scheduler`), words.map((word) => [word]));
  by(`${name}-scheduler`).addEventListener("change", () => showSource(name));
};
const showSource = (name) => { by(`${name}-own`).hidden = by(`${name}-scheduler`).value !== "own"; };
const put = (name, values) => {
  by(`${name}-scheduler`).value = values.scheduler;
  by(`${name}-knobs`).value = values.knobs;
  by(`${name}-source`).value = values.source || face.example;
  showSource(name);
};
const chosen = (name) => {
  const scheduler = by(`${name}-scheduler`).value;
  if (scheduler === NOTHING) return null;
  return { scheduler, knobs: by(`${name}-knobs`).value, source: scheduler === "own" ? by(`${name}-source`).value : "" };
};

// -- what the buttons do --
const situate = (name) => {
  const one = face.situations.find((each) => each.name === name) ?? face.situations[0];
  by("situation").value = one.name;
  by("look").textContent = `Lesson ${one.lesson}. ${one.look}`;
  by("workload").value = one.workload.replaceAll("\r", "");
  put("left", one.left);
  put("right", one.right);
  try { history.replaceState(null, "", "?" + one.name); } catch { /* a frame without an address of its own */ }
};
const run = async () => {
  const begun = performance.now();
  usable(false);
  status("running …");
  const told = await ask({ do: "answer", workload: by("workload").value, left: chosen("left"), right: chosen("right") });
  if (told.error !== undefined) tell(told.error);
  else by("shown").innerHTML = told.html;
  usable(true);
  status(`simulated and drawn in ${((performance.now() - begun) / 1000).toFixed(2)} s`);
  by("shown").dataset.outcomes = JSON.stringify(told.outcomes ?? null);
};
const draw = async () => {
  usable(false);
  const number = (id) => Number(by(id).value);
  const told = await ask({ do: "draw", preset: by("preset").value, n: number("count"), rate: number("rate"), seed: number("seed") });
  if (told.error !== undefined) tell(told.error);
  else by("workload").value = told.replaceAll("\r", "");
  usable(true);
};
const begin = async () => {
  face = await start();
  choice("left", "left");
  choice("right", "right");
  options(by("preset"), face.presets.map((word) => [word]));
  by("preset").value = "mixed_length";
  options(by("situation"), face.situations.map((each) => [`${each.lesson} · ${each.title}`, each.name]));
  by("knobs").textContent = face.knobs;
  by("situation").addEventListener("change", () => { situate(by("situation").value); run(); });
  by("run").addEventListener("click", run);
  by("draw").addEventListener("click", draw);
  ready();
  situate(location.search.slice(1));
  await run();
};
begin();

"""The comparison itself: every row in turn, the reference they are compared with, the ceilings and the bound."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from . import bounds, host, protocol, registry, report, scoring, venvs, workload
from .child import Child, Patience, PeerFailed, PeerSkipped, timed_runs

BYTES = {"float32": 4, "bfloat16": 2}


def cache_home() -> Path:
    """Where references and environments are kept by default: beside minieng's own cache."""
    return Path(os.environ.get("MINIENG_HOME") or Path.home() / ".cache" / "minieng")


def say(line: str) -> None:
    """Progress goes to standard error, so that the table alone is on standard output."""
    print(line, file=sys.stderr, flush=True)


class Benchmark:
    """One run of the whole comparison; ``report`` grows row by row."""

    def __init__(self, args: argparse.Namespace, model_dir: Path) -> None:
        self.args, self.model_dir = args, model_dir
        self.cpus = host.choose_cpus(args.threads)
        everything = registry.all_peers(args.schedulers, args.packed, args.peers_dir, self.cpus)
        self.specs = registry.select(everything, args.only)
        lengths = workload.QUICK if args.quick else workload.FULL
        self.requests = workload.make(self.model_dir, lengths)
        self.outputs = sum(r["max_tokens"] for r in self.requests)
        self.patience = Patience(args.repeats, args.retries, args.max_foreign, args.wait_quiet, args.timeout)
        self.watch = host.Watch(self.cpus)
        self.logs = Path(tempfile.mkdtemp(prefix="cpu_peers-"))
        self.reference: dict | None = None
        self.steps: dict | None = None
        self.report = self.heading(lengths)

    def heading(self, lengths: workload.Lengths) -> dict:
        """Everything of the report that is known before the first run."""
        args = self.args
        name = args.model_dir.name if args.model_dir else "tiny" if args.quick else "smollm2-135m"
        return {
            "schema": report.SCHEMA,
            "complete": False,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": "python benchmarks/cpu_peers.py " + shlex.join(args.argv),
            "device": host.describe(),
            "versions": protocol.versions(),
            "model": {"name": name, "weights_sha256": venvs.weights_hash(self.model_dir)},
            "workload": workload.describe(self.requests, lengths),
            "settings": {
                "dtype": args.dtype, "threads": args.threads, "cpus": host.cpu_list(self.cpus) if self.cpus else "any",
                "repeats": args.repeats, "retries": args.retries, "max_foreign": args.max_foreign,
                "wait_quiet_s": args.wait_quiet, "env": self.env(), "peers_alone": True, "reported": "median",
            },
            "reference": None, "ceilings": None, "bound": None, "peers": [],
        }  # fmt: skip

    def env(self) -> dict[str, str]:
        """The environment variables every peer gets."""
        n = str(self.args.threads)
        return {"OMP_NUM_THREADS": n, "MKL_NUM_THREADS": n, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

    def job(self, spec: registry.Spec) -> dict:
        """What the child of this row is told."""
        args = self.args
        base = {
            "model_dir": str(self.model_dir),
            "dtype": args.dtype,
            "threads": args.threads,
            "requests": self.requests,
        }
        return {**base, "engine": args.engine, **spec.job}

    def child(self, spec: registry.Spec) -> Child:
        return Child(spec.python, spec.module, {**self.env(), **spec.env}, self.cpus, self.logs / f"{spec.name}.log")

    def run(self) -> int:
        """All rows, ceilings and the bound; 1 when a peer failed. Interrupted, it says where the rows so far are."""
        say(report.header(self.report))
        so_far = self.logs / "so-far.json"
        try:
            if self.args.ceilings:
                self.measure_ceilings()
            self.find_reference()
            for spec in self.specs:
                say(f"{spec.name}: {spec.what}")
                self.report["peers"].append(self.row(spec))
                report.save(self.report, so_far)
        except KeyboardInterrupt:
            if self.report["peers"]:
                say(f"cpu_peers: the rows so far are in {so_far}")
            raise
        self.finish()
        failed = any(row["status"] == "failed" for row in self.report["peers"])
        if not failed:
            shutil.rmtree(self.logs, ignore_errors=True)
        return int(failed)

    def row(self, spec: registry.Spec) -> dict:
        """One peer from start to end; whatever goes wrong becomes its row."""
        try:
            if spec.absent:
                raise PeerSkipped(spec.absent)
            if spec.name == "openvino":
                spec = self.with_weights(spec)
            with self.child(spec) as child:
                return self.measured(spec, child)
        except (PeerSkipped, PeerFailed, venvs.ExportFailed) as error:
            status = "skipped" if isinstance(error, PeerSkipped) else "failed"
            say(f"    {status}: {error}")
            return report.row_of(spec.name, spec.what, status, str(error))

    def with_weights(self, spec: registry.Spec) -> registry.Spec:
        """OpenVINO's row with its exported weights."""
        digest = self.report["model"]["weights_sha256"]
        place, absent = venvs.openvino_weights(self.args.peers_dir, self.model_dir, digest, say)
        if absent:
            raise PeerSkipped(absent)
        return replace(spec, job={**spec.job, "ir_dir": str(place)})

    def measured(self, spec: registry.Spec, child: Child) -> dict:
        """Load, warm up, time, compare."""
        ready = child.ask(json.dumps(self.job(spec)), self.patience.timeout)
        say(f"    loaded in {ready['load_s']:.1f} s, warmed up in {ready['warmup_s']:.1f} s")
        runs, marked = timed_runs(child, self.watch, self.patience, say)
        tokens = next(run for run in runs if run.used).tokens
        if wrong := scoring.check_lengths(self.requests, tokens):
            raise PeerFailed(wrong)
        if spec.name == registry.REFERENCE:
            self.keep_reference(tokens, child.ask("gaps", self.patience.timeout)["answer"], ready["versions"])
        if spec.name == registry.OURS:
            self.steps = child.ask("steps", self.patience.timeout)["answer"]
        row = report.measured_row(spec.name, spec.what, runs, marked, self.outputs)
        row["tokens_vary"] = any(run.tokens != tokens for run in runs)
        if self.reference:
            row["equality"] = scoring.equality(self.reference["tokens"], tokens, self.reference["gaps"])
        row.update({key: ready[key] for key in ("load_s", "warmup_s", "versions", "settings")}, env=spec.env)
        return row

    # -- the reference ------------------------------------------------------------------------------------

    def reference_file(self) -> Path:
        """Named by all that its tokens depend on."""
        parts = [self.report["model"]["weights_sha256"][:16], self.report["workload"]["digest"], self.args.dtype]
        parts += [self.report["versions"].get(name, "none") for name in ("torch", "transformers")]
        return cache_home() / "benchmarks" / f"reference-{'-'.join(parts)}.json"

    def find_reference(self) -> None:
        """Without transformers among the rows: its tokens from an earlier run, else made now, untimed."""
        if any(spec.name == registry.REFERENCE for spec in self.specs):
            return
        file = self.reference_file()
        if file.exists():
            self.use_reference(json.loads(file.read_text()), "kept from an earlier run")
            return
        spec = registry.transformers_peers(packed=False)[0]
        say(f"reference: {spec.what} (once, untimed, then kept)")
        try:
            with self.child(spec) as child:
                ready = child.ask(json.dumps({**self.job(spec), "warmup": 1}), self.patience.timeout)
                tokens = child.ask("run", self.patience.timeout)["tokens"]
                gaps = child.ask("gaps", self.patience.timeout)["answer"]
                self.keep_reference(tokens, gaps, ready["versions"])
        except (PeerFailed, PeerSkipped) as reason:
            say(f"    no reference: {reason}")

    def keep_reference(self, tokens: list[list[int]], gaps: list[list[float]], versions: dict) -> None:
        """For the rows that follow and for later runs."""
        made = {"tokens": tokens, "gaps": gaps, "versions": versions}
        report.save(made, self.reference_file())
        self.use_reference(made, "made in this run")

    def use_reference(self, made: dict, source: str) -> None:
        """Compare with these tokens from now on."""
        self.reference = made
        what = f"transformers generate, one request at a time, {self.args.dtype}, {source}"
        self.report["reference"] = {"what": what, "versions": made["versions"], "tie_logit_gap": scoring.TIE}

    # -- ceilings and bound -------------------------------------------------------------------------------

    def measure_ceilings(self) -> None:
        """What the processor reaches at best, in the same run and under the same watch."""
        shapes = bounds.Shapes.of(workload.read_json(self.model_dir / "config.json"))
        if shapes is None:
            return
        say("ceilings: matrix products and memory")
        spec = registry.Spec("ceilings", "ceilings", "peers.run_ceilings", {
            "shapes": shapes.linears, "layers": shapes.layers, "head": [shapes.head], "small": self.args.quick, "warmup": 0,
        })  # fmt: skip
        patience = replace(self.patience, repeats=1, retries=min(2, self.patience.retries))
        try:
            with self.child(spec) as child:
                child.ask(json.dumps(self.job(spec)), patience.timeout)
                runs, marked = timed_runs(child, self.watch, patience, say)
        except PeerFailed as reason:
            say(f"    failed: {reason}")
            return
        used = max((run for run in runs if run.used), key=lambda run: run.tokens["gemm_gflops"])
        ceilings = {**used.tokens, "disturbed": marked, "others_cpu_share": used.load.foreign}
        self.report["ceilings"] = ceilings
        self.report["bound"] = bounds.ideal(shapes, self.requests, BYTES[self.args.dtype], ceilings)

    def finish(self) -> None:
        """Ratios, the sentence on the bound, the table and the file."""
        made, ceilings = self.report, self.report["ceilings"]
        report.add_ratios(made["peers"], registry.OURS)
        if made["bound"]:
            ours = next((r for r in made["peers"] if r["name"] == registry.OURS and "seconds" in r), None)
            engine = None
            if ours and self.steps:
                rows = self.steps["rows"]
                engine = {
                    "name": registry.OURS, "seconds": ours["seconds"], "steps": len(rows),
                    "mean_rows": sum(r for r, _ in rows) / len(rows),
                    "linears_s": bounds.linears_seconds(rows, ceilings), "model_s": self.steps["model_s"],
                }  # fmt: skip
            made["bound"].update(engine=engine, sentence=bounds.sentence(made["bound"], ceilings, engine))
        made["complete"] = True
        report.save(made, self.args.json)
        say("")
        print(report.table(made["peers"], registry.OURS))
        print(report.footer(made))
        print(f"{self.args.json} written", flush=True)

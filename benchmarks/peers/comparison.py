"""The comparison itself: references, ceilings, the rows measured alone, and those whose peers take turns in rounds."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from . import bounds, host, registry, report, venvs, workload
from .child import Child, Patience, PeerFailed, PeerSkipped, Run, judge, measure, one_run
from .sheet import Sheet, environment

Broken = (PeerSkipped, PeerFailed, venvs.ExportFailed)


def say(line: str) -> None:
    """Progress goes to standard error, so that the table alone is on standard output."""
    print(line, file=sys.stderr, flush=True)


class Benchmark:
    """One sitting of one precision: a sheet for each workload, each with its rows and its JSON."""

    def __init__(self, args: argparse.Namespace, model_dir: Path) -> None:
        self.args, self.model_dir = args, model_dir
        self.cpus = host.choose_cpus(args.threads)
        everything = registry.all_peers(args.schedulers, args.packed, args.peers_dir, self.cpus)
        digest = venvs.weights_hash(model_dir)
        self.sheets = []
        for name in args.workload:
            specs = registry.select(everything, args.only, all_of_it=name == "main")
            self.sheets.append(Sheet(name, args, model_dir, specs, self.cpus, digest))
        self.digest = digest
        self.patience = Patience(args.repeats, args.retries, args.max_foreign, args.wait_quiet, args.timeout)
        self.watch = host.Watch(self.cpus)
        self.logs = Path(tempfile.mkdtemp(prefix="cpu_peers-"))

    def job(self, spec: registry.Spec, sheets: list[Sheet]) -> dict:
        """What the child of this row is told: the requests of all workloads it will be asked for."""
        args = self.args
        base = {
            "model_dir": str(self.model_dir),
            "dtype": args.dtype,
            "threads": args.threads,
            "workloads": {sheet.name: sheet.requests for sheet in sheets},
            "longest": max(sheet.longest for sheet in sheets),
            "prefix_caching": any(sheet.lengths.prefix for sheet in sheets),
        }
        return {**base, "engine": args.engine, **spec.job}

    def child(self, spec: registry.Spec) -> Child:
        env = {**environment(self.args.threads), **spec.env}
        return Child(spec.python, spec.module, env, self.cpus, self.logs / f"{spec.name}.log")

    def run(self) -> int:
        """All sheets; 1 when a peer failed. Interrupted, it says where the rows so far are."""
        say(report.header([sheet.report for sheet in self.sheets]))
        try:
            if self.args.references:
                return int(not all([self.make_reference(sheet) for sheet in self.sheets]))
            if self.args.ceilings:
                self.measure_ceilings()
            for sheet in self.sheets:
                if not any(spec.name == registry.REFERENCE for spec in sheet.specs):
                    self.make_reference(sheet)
            for sheet in self.sheets:
                self.rows_alone(sheet)
            for _, group in groupby(self.sheets, key=lambda sheet: bool(sheet.lengths.prefix)):
                self.rows_in_turns(list(group))
        except KeyboardInterrupt:
            if any(sheet.report["peers"] for sheet in self.sheets):
                say(f"cpu_peers: the rows so far are in {self.logs}")
            raise
        return self.finish()

    def save(self, sheet: Sheet) -> None:
        """What there is so far, for whoever interrupts it."""
        report.save(sheet.report, self.logs / f"so-far-{sheet.name}.json")

    # -- one after the other --------------------------------------------------------------------------------------

    def rows_alone(self, sheet: Sheet) -> None:
        """The peers that take no turns: each alone in memory from start to end."""
        for spec in sheet.specs:
            if not spec.in_turns:
                say(f"{sheet.name}, {spec.name}: {spec.what}")
                self.row_alone(spec, sheet)
                self.save(sheet)

    def row_alone(self, spec: registry.Spec, sheet: Sheet) -> None:
        """Load, warm up, time, compare; whatever goes wrong becomes its row."""
        patience = replace(self.patience, repeats=self.args.slow_repeats) if spec.slow else self.patience
        try:
            with self.started(spec, [sheet]) as (child, ready):
                runs, marked = measure(lambda: self.one_run(spec, child, sheet), patience)
                if spec.name == registry.REFERENCE:
                    gaps = child.ask(f"gaps {sheet.name}", patience.timeout)["answer"]
                    sheet.keep_reference(next(run for run in runs if run.used).tokens, gaps, ready["versions"])
            sheet.add_runs(spec, ready, runs, marked)
        except Broken as error:
            self.broken(spec, [sheet], error)

    def one_run(self, spec: registry.Spec, child: Child, sheet: Sheet) -> Run:
        """One timed run, and of our own engine what its steps were."""
        run = one_run(child, sheet.name, self.watch, self.patience, say, sheet.busy)
        if spec.name == registry.OURS:
            sheet.steps = child.ask(f"steps {sheet.name}", self.patience.timeout)["answer"]
        return run

    @contextlib.contextmanager
    def started(self, spec: registry.Spec, sheets: list[Sheet]):
        """The peer's process, loaded and warm on these workloads, and what it said then. It is gone afterwards."""
        if spec.absent:
            raise PeerSkipped(spec.absent)
        spec = self.with_weights(spec)
        with self.child(spec) as child:
            ready = child.ask(json.dumps(self.job(spec, sheets)), self.patience.timeout)
            say(f"    loaded in {ready['load_s']:.1f} s, warmed up in {ready['warmup_s']:.1f} s")
            yield child, ready

    def broken(self, spec: registry.Spec, sheets: list[Sheet], error: Exception) -> None:
        """The row of a peer that could not run or that broke, in each of these workloads."""
        status = "skipped" if isinstance(error, PeerSkipped) else "failed"
        say(f"    {status}: {error}")
        for sheet in sheets:
            sheet.add_reason(spec, status, str(error))

    def with_weights(self, spec: registry.Spec) -> registry.Spec:
        """The row of a peer that has its own form of the weights, with that; any other as it is."""
        if spec.name == "openvino":
            key, (place, absent) = "ir_dir", venvs.openvino_weights(self.args.peers_dir, self.model_dir, self.digest, say)
        elif "kind" in spec.job:
            key, (place, absent) = "gguf", venvs.llama_weights(self.args.peers_dir, self.model_dir, spec.job["kind"], say)
        else:
            return spec
        if absent:
            raise PeerSkipped(absent)
        return replace(spec, job={**spec.job, key: str(place)})

    # -- in turns -------------------------------------------------------------------------------------------------

    def rows_in_turns(self, sheets: list[Sheet]) -> None:
        """All peers that take turns, loaded once for all these workloads; each rests while another has its turn."""
        specs = {spec.name: spec for sheet in sheets for spec in sheet.specs if spec.in_turns}
        with contextlib.ExitStack() as stack:
            players: dict[str, tuple[Child, dict]] = {}
            for name, spec in specs.items():
                asked = [sheet for sheet in sheets if spec in sheet.specs]
                say(f"{', '.join(sheet.name for sheet in asked)}, {name}: {spec.what}")
                try:
                    players[name] = stack.enter_context(self.started(spec, asked))
                    players[name][0].rest()
                except Broken as error:
                    self.broken(spec, asked, error)
            self.rounds([(specs[name], sheet) for sheet in sheets for name in players if specs[name] in sheet.specs], players)

    def rounds(self, cells: list[tuple[registry.Spec, Sheet]], players: dict[str, tuple[Child, dict]]) -> None:
        """One run of each peer on each workload a round, until each has as many undisturbed runs as are wanted."""
        runs: dict[tuple[str, str], list[Run]] = {(spec.name, sheet.name): [] for spec, sheet in cells}
        broken = set()
        number = 0
        while due := [c for c in cells if self.wants(runs, c) and (c[0].name, c[1].name) not in broken]:
            number += 1
            for spec, sheet in due:
                child, _ = players[spec.name]
                say(f"round {number}, {sheet.name}, {spec.name}")
                try:
                    with child.turn():
                        runs[spec.name, sheet.name].append(self.one_run(spec, child, sheet))
                except PeerFailed as error:
                    broken.add((spec.name, sheet.name))
                    self.broken(spec, [sheet], error)
        for spec, sheet in cells:
            mine = runs[spec.name, sheet.name]
            if (spec.name, sheet.name) in broken:
                continue
            try:
                sheet.add_runs(spec, players[spec.name][1], mine, judge(mine, self.patience))
            except PeerFailed as error:
                self.broken(spec, [sheet], error)
            self.save(sheet)

    def wants(self, runs: dict, cell: tuple[registry.Spec, Sheet]) -> bool:
        """Is another run of this peer on this workload wanted?"""
        return self.patience.wants(runs[cell[0].name, cell[1].name])

    # -- reference and ceilings -----------------------------------------------------------------------------------

    def make_reference(self, sheet: Sheet) -> bool:
        """transformers' tokens from an earlier run, else made now, untimed. False if they could not be made."""
        if sheet.find_reference():
            return True
        spec = registry.transformers_peers(packed=False)[0]
        say(f"reference of {sheet.name}: {spec.what} (once, untimed, then kept)")
        try:
            with self.child(spec) as child:
                ready = child.ask(json.dumps({**self.job(spec, [sheet]), "warmup": 1}), self.patience.timeout)
                tokens = child.ask(f"run {sheet.name}", self.patience.timeout)["tokens"]
                gaps = child.ask(f"gaps {sheet.name}", self.patience.timeout)["answer"]
                sheet.keep_reference(tokens, gaps, ready["versions"])
                return True
        except (PeerFailed, PeerSkipped) as reason:
            say(f"    no reference: {reason}")
            return False

    def measure_ceilings(self) -> None:
        """What the processor reaches at best, in the same sitting and under the same watch."""
        shapes = bounds.Shapes.of(workload.read_json(self.model_dir / "config.json"))
        if shapes is None:
            return
        say("ceilings: matrix products and memory")
        job = {"shapes": shapes.linears, "layers": shapes.layers, "head": [shapes.head], "small": self.args.quick}
        spec = registry.Spec("ceilings", "ceilings", "peers.run_ceilings", job)
        patience = replace(self.patience, repeats=1, retries=min(2, self.patience.retries))
        try:
            with self.child(spec) as child:
                # nothing to warm up on, and no burner: these are numbers, not tokens
                child.ask(json.dumps({**self.job(spec, self.sheets[:1]), "workloads": {"": []}}), patience.timeout)
                runs, marked = measure(lambda: one_run(child, "", self.watch, patience, say), patience)
        except PeerFailed as reason:
            say(f"    failed: {reason}")
            return
        used = max((run for run in runs if run.used), key=lambda run: run.tokens["gemm_gflops"])
        for sheet in self.sheets:
            sheet.set_ceilings(shapes, {**used.tokens, "disturbed": marked, "others_cpu_share": used.load.foreign})

    def finish(self) -> int:
        """The tables and the files; 1 when a peer failed."""
        for sheet in self.sheets:
            file = self.args.json or self.args.results / report.result_name(sheet.name, self.args.dtype)
            sheet.finish(file)
            say("")
            print(f"{sheet.name}\n{report.table(sheet.report['peers'], registry.OURS)}")
            print(report.footer(sheet.report))
            print(f"{file} written", flush=True)
        failed = any(row["status"] == "failed" for sheet in self.sheets for row in sheet.report["peers"])
        if not failed:
            shutil.rmtree(self.logs, ignore_errors=True)
        return int(failed)

"""One workload of a comparison: its requests, the tokens that are right, and the report that becomes one JSON file."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
from pathlib import Path

from . import bounds, host, protocol, registry, report, scoring, workload
from .child import PeerFailed, Run

BYTES = {"float32": 4, "bfloat16": 2}


def cache_home() -> Path:
    """Where references and environments are kept by default: beside minieng's own cache."""
    return Path(os.environ.get("MINIENG_HOME") or Path.home() / ".cache" / "minieng")


def environment(threads: int) -> dict[str, str]:
    """The environment variables every peer gets."""
    n = str(threads)
    return {"OMP_NUM_THREADS": n, "MKL_NUM_THREADS": n, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


class Sheet:
    """``report`` grows row by row; ``specs`` are its rows in the order of the table."""

    def __init__(
        self, name: str, args: argparse.Namespace, model_dir: Path, specs: list[registry.Spec], cpus: list[int] | None,
        digest: str,
    ) -> None:  # fmt: skip
        self.name, self.args, self.model_dir, self.specs = name, args, model_dir, specs
        whole = workload.WORKLOADS[name]
        self.lengths = whole.quick() if args.quick else whole
        self.requests = workload.make(model_dir, self.lengths)
        self.outputs = sum(r["max_tokens"] for r in self.requests)
        self.busy = args.busy_share if self.lengths.busy else 0.0
        self.reference: dict | None = None
        self.steps: dict | None = None
        self.report = self.heading(cpus, digest)

    def heading(self, cpus: list[int] | None, digest: str) -> dict:
        """Everything of the report that is known before the first run."""
        args = self.args
        name = args.model_dir.name if args.model_dir else "tiny" if args.quick else "smollm2-135m"
        what = {"name": self.name, **workload.describe(self.requests, self.lengths)}
        return {
            "schema": report.SCHEMA,
            "complete": False,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": "python benchmarks/cpu_peers.py " + shlex.join(args.argv),
            "device": host.describe(),
            "versions": protocol.versions(),
            "model": {"name": name, "weights_sha256": digest},
            "workload": {**what, "burner_share_of_cpus": self.busy} if self.busy else what,
            "settings": {
                "dtype": args.dtype, "threads": args.threads, "cpus": host.cpu_list(cpus) if cpus else "any",
                "repeats": args.repeats, "slow_repeats": args.slow_repeats, "retries": args.retries,
                "max_foreign": args.max_foreign, "wait_quiet_s": args.wait_quiet, "env": environment(args.threads),
                "in_turns": [spec.name for spec in self.specs if spec.in_turns], "reported": "median",
            },
            "reference": None, "ceilings": None, "bound": None, "peers": [],
        }  # fmt: skip

    @property
    def longest(self) -> int:
        """Tokens of the longest request, prompt and answer."""
        return max(len(r["prompt"]) + r["max_tokens"] for r in self.requests)

    # -- rows -------------------------------------------------------------------------------------------------------

    def add(self, row: dict) -> None:
        """A row, in its place in the table."""
        order = [spec.name for spec in self.specs]
        self.report["peers"].append(row)
        self.report["peers"].sort(key=lambda r: order.index(r["name"]) if r["name"] in order else len(order))

    def add_reason(self, spec: registry.Spec, status: str, reason: str) -> None:
        """A row without figures: skipped or failed."""
        self.add(report.row_of(spec.name, spec.what, status, reason))

    def add_runs(self, spec: registry.Spec, ready: dict, runs: list[Run], marked: bool) -> None:
        """A row of what was measured and judged. Raises PeerFailed if an answer has not the tokens asked for."""
        tokens = next(run for run in runs if run.used).tokens
        if wrong := scoring.check_lengths(self.requests, tokens):
            raise PeerFailed(wrong)
        row = report.measured_row(spec.name, spec.what, runs, marked, self.outputs)
        row["tokens_vary"] = any(run.tokens != tokens for run in runs)
        if self.reference:
            row["equality"] = scoring.equality(self.reference["tokens"], tokens, self.reference["gaps"])
        row.update({key: ready[key] for key in ("load_s", "warmup_s", "versions", "settings")}, env=spec.env)
        self.add(row)

    # -- the reference ----------------------------------------------------------------------------------------------

    def reference_file(self) -> Path:
        """Named by all that its tokens depend on."""
        parts = [self.report["model"]["weights_sha256"][:16], self.report["workload"]["digest"], self.args.dtype]
        parts += [self.report["versions"].get(name, "none") for name in ("torch", "transformers")]
        return cache_home() / "benchmarks" / f"reference-{'-'.join(parts)}.json"

    def find_reference(self) -> bool:
        """Use the tokens that an earlier run kept, if there are any."""
        file = self.reference_file()
        if not file.exists():
            return False
        self.use_reference(json.loads(file.read_text()), "kept from an earlier run")
        return True

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

    # -- the end ----------------------------------------------------------------------------------------------------

    def set_ceilings(self, shapes: bounds.Shapes, ceilings: dict) -> None:
        """What the processor reached at best in this sitting, and what the workload must cost at least."""
        self.report["ceilings"] = ceilings
        self.report["bound"] = bounds.ideal(shapes, self.requests, BYTES[self.args.dtype], ceilings)

    def finish(self, file: Path) -> None:
        """Ratios, the sentence on the bound, and the file."""
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
        report.save(made, file, {self.args.peers_dir: "DIR", Path.home(): "~"})

"""The one table and the one JSON: rows as dictionaries, ratios, and what is printed."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from .child import Run, median_seconds

SCHEMA = 2
PRECISIONS = {"float32": "fp32", "bfloat16": "bf16"}
COARSER = {"float32": ("llama.cpp",), "bfloat16": ("llama.cpp-q8",)}
COLUMNS = (
    "peer",
    "tok/s",
    "seconds",
    "min–max s",
    "{ours} is",
    "equal requests",
    "equal tokens",
    "others' CPU",
    "note",
)


def row_of(name: str, what: str, status: str, reason: str | None = None) -> dict:
    """A row without figures: skipped or failed."""
    return {"name": name, "what": what, "status": status, "reason": reason}


def measured_row(name: str, what: str, runs: list[Run], marked: bool, outputs: int) -> dict:
    """A row with figures. Every run is kept; only those with ``used`` count."""
    seconds = median_seconds(runs)
    clean = sum(not run.disturbed for run in runs)
    reason = f"DISTURBED: {clean} undisturbed of {len(runs)} runs" if marked else None
    return {
        **row_of(name, what, "disturbed" if marked else "ok", reason),
        "tokens_per_s": outputs / seconds,
        "seconds": seconds,
        "runs": [run_dict(run, outputs) for run in runs],
    }


def run_dict(run: Run, outputs: int) -> dict:
    """One run as the JSON keeps it."""
    return {
        "seconds": run.seconds,
        "tokens_per_s": outputs / run.seconds,
        "others_cpu_share": run.load.foreign,
        "stolen_cpu_share": run.load.steal,
        "own_cpu_share": run.load.own if run.burner is None else run.load.own - run.burner,
        **({} if run.burner is None else {"burner_cpu_share": run.burner}),
        "disturbed": run.disturbed,
        "used": run.used,
    }


def add_ratios(rows: list[dict], ours: str) -> None:
    """How many times as fast ours is as each row; None where one of the two has no figure."""
    mine = next((r.get("tokens_per_s") for r in rows if r["name"] == ours), None)
    for row in rows:
        theirs = row.get("tokens_per_s")
        row["ours_is_times_as_fast"] = mine / theirs if mine and theirs else None


def cells(row: dict) -> list[str]:
    """One line of the table."""
    if "tokens_per_s" not in row:
        return [row["name"], *["–"] * 7, shorten(f"{row['status']}: {row['reason']}")]
    used = [run for run in row["runs"] if run["used"]]
    spread = [run["seconds"] for run in used]
    ratio, same = row.get("ours_is_times_as_fast"), row.get("equality")
    notes = [row["reason"]] if row["reason"] else []
    if row.get("tokens_vary"):
        notes.append("its tokens differ from run to run")
    if same and same["first_divergence"]:
        first = same["first_divergence"]
        notes.append(f"first difference: request {first['request']}, token {first['position']}")
    return [
        row["name"],
        f"{row['tokens_per_s']:.1f}" + ("*" if row["status"] == "disturbed" else ""),
        f"{row['seconds']:.2f}",
        f"{min(spread):.2f}–{max(spread):.2f}",
        f"{ratio:.2f}×" if ratio else "–",
        f"{same['requests_equal']}/{same['requests']}" if same else "–",
        f"{same['tokens_equal']}/{same['tokens']}" if same else "–",
        f"{max(run['others_cpu_share'] for run in used):.1%}",
        "; ".join(notes),
    ]


def shorten(text: str, width: int = 90) -> str:
    """A note that fits a table; the JSON has all of it."""
    return text if len(text) <= width else text[: width - 1] + "…"


def table(rows: list[dict], ours: str) -> str:
    """All rows as an aligned Markdown table."""
    lines = [[c.format(ours=ours) for c in COLUMNS], *(cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    left = {0, len(COLUMNS) - 1}

    def text(line: list[str]) -> str:
        padded = [c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        return "| " + " | ".join(padded) + " |"

    rule = "| " + " | ".join("-" * w if i in left else "-" * (w - 1) + ":" for i, w in enumerate(widths)) + " |"
    return "\n".join([text(lines[0]), rule, *map(text, lines[1:])])


def header(reports: list[dict]) -> str:
    """What was measured on what, in the lines above the tables."""
    first = reports[0]
    device, settings = first["device"], first["settings"]
    lines = [
        f"{device['cpu']} ({' '.join(device['flags'])}), {device['cores_physical']} cores; "
        f"{settings['threads']} threads on CPUs {settings['cpus']}, OMP_NUM_THREADS={settings['threads']}",
        f"{first['model']['name']} {settings['dtype']}",
    ]
    for work in (made["workload"] for made in reports):
        busy = f", a burner on {work['burner_share_of_cpus']:.0%} of the CPUs" if "burner_share_of_cpus" in work else ""
        lines.append(
            f"{work['name']}: {work['requests']} requests, prompts {work['prompt_lengths']} "
            f"({work['prompt_tokens']} tokens), outputs {work['output_lengths']} ({work['output_tokens']} tokens), "
            f"seed {work['numpy_seed']}, {work['sampling']}{busy}"
        )
    lines.append(
        f"median of {settings['repeats']} runs after a warm-up; a run during which others used more than "
        f"{settings['max_foreign']:.0%} of those CPUs is discarded and repeated (at most {settings['retries']} times)"
    )
    return "\n".join(lines)


def footer(report: dict) -> str:
    """Ceilings, the bound, and a loud word on marked rows."""
    lines = []
    if ceilings := report.get("ceilings"):
        lines.append(f"Ceilings: {ceilings['gemm_gflops']:.0f} GFLOP/s, copy {ceilings['copy_gb_s']:.1f} GB/s (read + write)")
    lines += [report["bound"]["sentence"]] if report.get("bound") else []
    lines.append(f"Equality: against {report['reference']['what']}" if report.get("reference") else "Equality: no reference")
    if any(row["status"] == "disturbed" for row in report["peers"]):
        lines.append("* too few undisturbed runs: run it again on a quiet machine before you quote this figure")
    return "\n".join(lines)


def ratios_table(reports: list[dict], ours: str, rungs: tuple[str, ...] = ("transformers", "minieng", "http")) -> str:
    """One row a recorded workload: our time, the best peer's, and how many times as fast we are. For the README.

    The rungs of the ladder are no peers here, and neither is who computes on coarser weights than the row says. A marked figure
    has a star.
    """
    head = ("workload", "precision", "minieng", "best peer", "its time", "minieng is", "tokens equal")
    lines = [f"| {' | '.join(head)} |", "| --- | --- | ---: | --- | ---: | ---: | ---: |"]
    for made in reports:
        timed = [row for row in made["peers"] if "seconds" in row]
        mine = next((row for row in timed if row["name"] == ours), None)
        dtype = made["settings"]["dtype"]
        peers = [row for row in timed if not row["name"].startswith((*rungs, *COARSER[dtype]))]
        if mine is None or not peers:
            continue
        best = min(peers, key=lambda row: row["seconds"])
        stars = ["*" if row["status"] == "disturbed" else "" for row in (mine, best)]
        work, same = made["workload"], mine.get("equality")
        equal = f"{same['tokens_equal']} of {same['tokens']}" if same else "–"
        lines.append(
            f"| {in_words(work)} | {PRECISIONS[dtype]} | {mine['seconds']:.1f} s{stars[0]} | {best['name']} "
            f"| {best['seconds']:.1f} s{stars[1]} | {best['seconds'] / mine['seconds']:.2f}× | {equal} |"
        )
    return "\n".join(lines)


def in_words(work: dict) -> str:
    """A workload in a cell of the README's table."""
    number = work["requests"]
    text = f"{number} request{'s' * (number > 1)}, {short(work['prompt_lengths'])} in, {short(work['output_lengths'])} out"
    busy = work.get("burner_share_of_cpus")
    return text + (f", another process on {busy:.0%} of the cores" if busy else "")


def short(lengths: str) -> str:
    return lengths.replace("uniform ", "")


def load_reports(folder: Path, dtypes: tuple[str, ...], names: tuple[str, ...]) -> list[dict]:
    """The recorded results that are there, precision by precision, in the order of the workloads."""
    files = [folder / result_name(name, dtype) for dtype in dtypes for name in names]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]


def result_name(name: str, dtype: str) -> str:
    """The file of a workload in ``results``; the main one has the short name."""
    return f"cpu_peers-{dtype}.json" if name == "main" else f"cpu_peers-{dtype}-{name}.json"


def save(report: dict[str, Any], path: Path, places: dict[Path, str] | None = None) -> None:
    """Write the JSON as a whole or not at all.

    places  folders of this machine: what is written in their place, for readers on others
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    making = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps(report, indent=1, ensure_ascii=False)
    for folder, name in (places or {}).items():
        text = re.sub(re.escape(str(folder.absolute())) + r"(?![\w.-])", name, text)
    making.write_text(text + "\n", encoding="utf-8")
    os.replace(making, path)

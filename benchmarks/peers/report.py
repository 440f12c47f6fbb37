"""The one table and the one JSON: rows as dictionaries, ratios, and what is printed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .child import Run, median_seconds

SCHEMA = 1
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
        "own_cpu_share": run.load.own,
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


def header(report: dict) -> str:
    """What was measured on what, in the lines above the table."""
    device, work, settings = report["device"], report["workload"], report["settings"]
    return (
        f"{device['cpu']} ({' '.join(device['flags'])}), {device['cores_physical']} cores; "
        f"{settings['threads']} threads on CPUs {settings['cpus']}, OMP_NUM_THREADS={settings['threads']}\n"
        f"{report['model']['name']} {settings['dtype']}; {work['requests']} requests, prompts {work['prompt_lengths']} "
        f"({work['prompt_tokens']} tokens), outputs {work['output_lengths']} ({work['output_tokens']} tokens), "
        f"seed {work['numpy_seed']}, {work['sampling']}\n"
        f"median of {settings['repeats']} runs after a warm-up; a run during which others used more than "
        f"{settings['max_foreign']:.0%} of those CPUs is discarded and repeated (at most {settings['retries']} times)"
    )


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


def save(report: dict[str, Any], path: Path) -> None:
    """Write the JSON as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    making = path.with_name(f".{path.name}.{os.getpid()}")
    making.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(making, path)

"""The table: what the JSON holds, for reading."""

from __future__ import annotations


def table(sections: dict[str, dict]) -> str:
    """All sections that are there, in one text. A figure from a small run or from a CPU says so in its head."""
    lines: list[str] = []
    for name, show in SHOWN.items():
        section = sections.get(name)
        if section is None:
            continue
        small = "; SMALL: proves the benchmark, measures nothing" if section["small"] else ""
        head = f"{name}: {section['device']['name']}, {section['dtype']}, {section['date'][:10]}, {section['weights']}{small}"
        lines += [head, *(f"  {line}" for line in (told(section) or show(section)))]
    return "\n".join([*lines, *ratios(sections)])


def told(section: dict) -> list[str]:
    """Why a section has no figures, or nothing."""
    if "error" in section:
        return [f"FAILED {section['error']}"]
    return [section["skipped"]] if "skipped" in section else []


def show_ceilings(s: dict) -> list[str]:
    return [f"copy {s['copy_bytes_per_s'] / 1e9:,.0f} GB/s, {s['matmul']} {s['matmul_flop_per_s'] / 1e12:,.1f} TFLOP/s"]


def show_attention(s: dict) -> list[str]:
    lines = []
    for row in s["rows"]:
        text = f"batch {row['rows']:>3}, context {row['context']:>5}:"
        if "skipped" in row:
            lines.append(f"{text}  {row['skipped']}")
            continue
        for name in ("triton", "padded", "flashinfer"):
            if got := row.get(name):
                text += f"  {name} {got['error']}" if "error" in got else (
                    f"  {name} {got['seconds'] * 1e6:,.0f} us, "
                    + ("from the GPU's own cache" if row.get("in_cache") else f"{got['of_copy']:.0%} of the copy")
                )  # fmt: skip
        lines.append(text)
    lines += [s["flashinfer"]] if "flashinfer" in s else []
    for best in s.get("sweep", [])[:5]:
        lines.append("sweep: " + ", ".join(f"{k} {v}" for k, v in best.items()))
    return lines


def show_decode(s: dict) -> list[str]:
    def ms(value: float | None) -> str:
        return "   –" if value is None else f"{value * 1e3:.3f} ms"

    return [
        f"batch {r['rows']:>3}, context {r['context']:>5}, {'graphs' if r['graphs'] else 'eager '}: step {ms(r['step_s'])}, "
        f"device {ms(r['device_s'])}, host {ms(r['host_s'])} ({ms(r['exposed_s'])} of it exposed), "
        f"{r['tokens_per_s']:,.0f} tok/s, {r['of_copy']:.0%} of the copy, "
        f"{r['times_floor']:.2f} x floor"
        for r in s["rows"]
    ] + s.get("skipped_rows", [])


def show_run(name: str, run: dict) -> str:
    if "skipped" in run:
        return run["skipped"]
    note = f" ({run['note']})" if "note" in run else ""
    return f"{name}: {run['output_tokens_per_s']:,.0f} output tok/s, {run['output_tokens']:,} in {run['seconds']:.1f} s{note}"


def show_mixed(s: dict) -> list[str]:
    knobs = ("scheduler", "mixed", "max_num_batched_tokens")
    return [s["workload"]] + [
        f"{' '.join(str(r[k]) if k == 'scheduler' else f'{k}={r[k]}' for k in knobs if k in r)}: ITL median "
        f"{r['median_itl_ms']:.1f} ms, P99 {r['p99_itl_ms']:.1f} ms; TTFT median {r['median_ttft_ms']:.0f} ms, P99 "
        f"{r['p99_ttft_ms']:.0f} ms; all at once {r['output_tokens_per_s_at_once']:,.0f} tok/s"
        for r in s["rows"]
    ]


def show_traces(s: dict) -> list[str]:
    return [
        f"{name}: {t['steps']} steps, {t['output_tokens_per_s']:,.0f} tok/s, {t['file']}" for name, t in s.items() if is_run(t)
    ]


def is_run(value: object) -> bool:
    return isinstance(value, dict) and bool({"output_tokens_per_s", "skipped"} & value.keys())


def ratios(sections: dict[str, dict]) -> list[str]:
    """minieng against each peer on workload (a), where both are in the file and were measured on one device."""
    mine = sections.get("nano", {}).get("continuous")
    if not mine:
        return []
    peers = {name: sections.get(name) for name in ("nano-transformers", "nano-padded")}
    peers |= {k: v for k, v in sections.get("nano-others", {}).items() if is_run(v) and "skipped" not in v}
    return [
        f"minieng continuous / {name}: {mine['output_tokens_per_s'] / peer['output_tokens_per_s']:.2f}"
        for name, peer in peers.items()
        if peer and "output_tokens_per_s" in peer and peer.get("device", sections["nano"]["device"]) == sections["nano"]["device"]
    ]


SHOWN = {
    "ceilings": show_ceilings,
    "attention": show_attention,
    "decode": show_decode,
    "nano": lambda s: [show_run(f"minieng {name}", run) for name, run in s.items() if is_run(run)],
    "nano-transformers": lambda s: [show_run("transformers, continuous batching", s)],
    "nano-padded": lambda s: [show_run("transformers, padded generate", s)],
    "nano-others": lambda s: [show_run(name, run) for name, run in s.items() if is_run(run)],
    "mixed": show_mixed,
    "traces": show_traces,
}

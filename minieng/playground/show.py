"""Outcomes as HTML: each with its timeline and curves, all on one axis, and one table of counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from ..draw import player_data, player_page
from ..draw.seats import Cell, cells
from ..draw.words import counted
from ..observe.trace import Trace
from .outcome import PROMISE, Outcome
from .svg import curve, legend, timeline

ROWS = (  # name in ``counts``, what the table calls it, how it is printed
    ("completed", "requests answered", ",.0f"),
    ("refused", "requests refused", ",.0f"),
    ("late", f"answers too late ({PROMISE['ttft']} ms, then {PROMISE['tpot']} ms a token)", ",.0f"),
    ("steps", "steps", ",.0f"),
    ("computed", "tokens computed", ",.0f"),
    ("padding", "positions of padding", ",.0f"),
    ("done_rows", "positions for rows already done", ",.0f"),
    ("recomputed", "tokens computed again", ",.0f"),
    ("cached", "tokens found in the cache", ",.0f"),
    ("preemptions", "preemptions", ",.0f"),
    ("swapped", "blocks swapped", ",.0f"),
    ("mixed_steps", "steps with prompts and decodes", ",.0f"),
    ("most_running", "most requests in a step", ",.0f"),
    ("most_waiting", "most requests waiting", ",.0f"),
    ("mean_ttft_ms", "mean time to first token (ms)", ",.1f"),
    ("longest_gap_ms", "longest gap between two tokens (ms)", ",.1f"),
    ("mean_e2el_ms", "mean time to the last token (ms)", ",.1f"),
    ("bubble_percent", "stages with nothing to do (%)", ",.1f"),
    ("total_ms", "until the last answer (ms)", ",.1f"),
)
ALWAYS = ("completed", "steps", "computed", "mean_ttft_ms", "longest_gap_ms", "total_ms")
MOST_PLAYED = 200  # steps in the player, the last ones
CSS = """<style>
.mp-two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1rem}
.mp-two>section{min-width:0}.mp-two h3{font-size:1rem;margin:.4rem 0;overflow-wrap:anywhere}
.mp-sheet{overflow-x:auto;background:#fff;border-radius:.3rem}
.mp-key{display:flex;flex-wrap:wrap;gap:.2rem 1rem;list-style:none;margin:.3rem 0;padding:0}
.mp-key svg{vertical-align:-.15rem}.mp-two h4{font-size:.9rem;font-weight:normal;margin:.5rem 0 .1rem}
.mp-bad{border:2px solid #a33f00;border-radius:.4rem;padding:.5rem .7rem;margin:.4rem 0}
.mp-bad{overflow-wrap:anywhere}.mp-player{width:100%;height:42rem;border:1px solid #8886}
.mp-wide{overflow-x:auto}.mp-wide table{border-collapse:collapse;margin:.6rem 0;width:auto}
.mp-wide th,.mp-wide td{text-align:right;padding:.15rem .45rem;border-bottom:1px solid #8886}
.mp-wide th,.mp-wide td{max-width:16rem;overflow-wrap:anywhere}
.mp-wide th:first-child{min-width:8rem;text-align:left;font-weight:normal}
.mp-wide thead th{font-weight:bold;font-size:.8rem;min-width:6.3rem}.mp-wide span{display:inline-block}
</style>"""


def comparison(outcomes: Sequence[Outcome], prefix: str = "mp") -> str:
    """Outcomes side by side, below them their counts. ``prefix``: of the names in this piece of a page."""
    end = max((end_of(outcome) for outcome in outcomes), default=0.0)
    found = [cells(list(outcome.trace)) if outcome.trace else [] for outcome in outcomes]
    rows = 1 + max((cell.seat for part in found for cell in part), default=0)
    sides = [
        side(outcome, part, rows, end, f"{prefix}{i}")
        for i, (outcome, part) in enumerate(zip(outcomes, found, strict=True))
    ]
    key = legend([cell for part in found for cell in part], prefix)
    return f'{CSS}<div class="mp-two">{"".join(sides)}</div>{key}{table(outcomes)}'


def end_of(outcome: Outcome) -> float:
    """Seconds until the last step ended."""
    if not outcome.trace:
        return 0.0
    return max(record.start + record.duration for record in outcome.trace)


def side(outcome: Outcome, found: Sequence[Cell], rows: int, end: float, prefix: str) -> str:
    """One outcome: what was chosen, what went wrong, who had which seat, KV and queue over time."""
    parts = [f"<h3>{escape(outcome.choice.label())}</h3>", *trouble(outcome)]
    trace = outcome.trace
    if trace:
        parts.append(timeline(found, rows, end, in_words(outcome, found), prefix))
        records = list(trace)
        held = [float(record.blocks_total - record.blocks_free) for record in records]
        waiting = [float(record.num_waiting) for record in records]
        for name, values, most, color in (
            (f"blocks of KV held, of {records[0].blocks_total}", held, float(records[0].blocks_total), 0),
            ("requests waiting", waiting, max(waiting), 1),
        ):
            parts += [f"<h4>{name}</h4>", curve(records, values, most, end, color, name)]
        parts.append(step_player(trace, outcome.choice.label()))
    return f"<section>{''.join(parts)}</section>"


def trouble(outcome: Outcome) -> Iterator[str]:
    """Boxes for a broken rule, another error, and requests that were refused."""
    if outcome.rule:
        after = f" after {counted(len(outcome.trace), 'step')}" if outcome.trace else ""
        head = f"<b>Broken rule: {escape(outcome.rule)}</b>{after}"
        yield f'<div class="mp-bad" role="alert">{head}<br>{escape(outcome.error)}</div>'
    elif outcome.error:
        where = f"Line {outcome.line} of your scheduler: " if outcome.line else ""
        yield f'<div class="mp-bad" role="alert"><b>{where}</b>{escape(outcome.error)}</div>'
    if outcome.refused:
        first, count = outcome.refused[0][1], len(outcome.refused)
        yield f'<div class="mp-bad">{count} refused, the first: {escape(first)}</div>'


def step_player(trace: Trace, title: str) -> str:
    """The step player in a frame, folded: block tables, who waits, and each step in words."""
    page = escape(player_page(player_data(trace, last=MOST_PLAYED, title=title)))
    about = f'class="mp-player" title="Step player: {escape(title)}" loading="lazy"'
    frame = f'<iframe {about} srcdoc="{page}"></iframe>'
    return f"<details><summary>Step by step: blocks, queue, words</summary>{frame}</details>"


def in_words(outcome: Outcome, found: Sequence[Cell]) -> str:
    requests, seats = len({cell.request for cell in found}), 1 + max((cell.seat for cell in found), default=0)
    return f"{requests} requests on {seats} seats in {len(outcome.trace or ())} steps."


def in_order(outcome: Outcome, most: int = 11) -> str:
    """The requests in the order of their first tokens, as many as a cell of a table holds."""
    names = outcome.first_tokens()
    return " ".join(names[:most]) + (" …" if len(names) > most else "") or "–"


def breakable(label: str) -> str:
    """HTML whose lines end between knobs, and in a narrow column after a part of a knob's name."""
    parts = escape(label).replace("_", "_<wbr>").replace("=", "=<wbr>").split(", ")
    return "<span>" + ",</span> <span>".join(parts) + "</span>"


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each count that is not zero everywhere, a column for each outcome."""
    counts = [outcome.counts() for outcome in outcomes]
    lines = []
    for name, words, form in ROWS:
        if name not in ALWAYS and not any(each.get(name) for each in counts):
            continue
        values = "".join(f"<td>{format(each[name], form) if name in each else '–'}</td>" for each in counts)
        lines.append(f'<tr><th scope="row">{words}</th>{values}</tr>')
    orders = "".join(f"<td>{escape(in_order(outcome))}</td>" for outcome in outcomes)
    lines.append(f'<tr><th scope="row">first tokens in this order</th>{orders}</tr>')
    heads = "".join(f'<th scope="col">{breakable(each.choice.label())}</th>' for each in outcomes)
    body = f"<thead><tr><th></th>{heads}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="mp-wide" tabindex="0"><table>{body}</table></div>'

"""``progress()``: what is done, how many hints, how close the guesses were. All of it stays on this machine."""

import json
from pathlib import Path
from typing import Any

from . import store
from .guesses import kindly, tidy
from .show import GOOD, QUIET, escape, show
from .task import lesson_module, lessons

Row = dict[str, Any]  # a lesson: its title, marks, points and hints
GuessRow = tuple[str, str, str, str, bool]  # name, guess, value, a kind word, whether it was close


def progress() -> None:
    """Show the tasks done, the hints opened and the guesses made, as a table and a small picture."""
    data = store.load()
    rows = [lesson_row(number, data) for number in lessons()]
    guesses = [guess_row(name, row) for name, row in sorted(data["guesses"].items())]
    show(as_text(rows, guesses), as_html(rows, guesses))


def lesson_row(number: str, data: dict[str, Any]) -> Row:
    module = lesson_module(number)
    marks = [(t, data["tasks"].get(t.id, {})) for t in module.TASKS]
    return {
        "lesson": f"{number} {module.TITLE}",
        "marks": [(t.id, bool(m.get("done")), bool(m.get("tries"))) for t, m in marks],
        "points": sum(t.points for t, m in marks if m.get("done")),
        "of": sum(t.points for t, _ in marks),
        "hints": sum(m.get("hints", 0) for _, m in marks),
    }


def guess_row(name: str, row: Row) -> GuessRow:
    guess, value = row.get("guess"), row.get("value")
    if value is None or guess is None:
        return name, tidy(guess), "not seen yet", "", False
    word, good = kindly(guess, value)
    return name, tidy(guess), tidy(value), word, good


def as_text(rows: list[Row], guesses: list[GuessRow]) -> str:
    lines = ["lesson".ljust(28) + "tasks".ljust(12) + "points".ljust(12) + "hints"]
    for r in rows:
        signs = "".join("■" if done else "◪" if tried else "□" for _, done, tried in r["marks"])
        lines.append(f"{r['lesson'][:27]:<28}{signs:<12}{r['points']:>3} of {r['of']:<5} {r['hints']:>3}")
    lines.append("■ done  ◪ tried  □ open")
    if guesses:
        lines += ["", "guess".ljust(20) + "yours".ljust(12) + "value".ljust(14) + "how close"]
        lines += [f"{n[:19]:<20}{g:<12}{v:<14}{w}" for n, g, v, w, _ in guesses]
    return "\n".join(lines)


def bar(row: Row) -> str:
    """One square a task: filled when done, half when tried; the words are in the alt text."""
    squares = ""
    for i, (_, done, tried) in enumerate(row["marks"]):
        x = i * 22
        squares += f'<rect x="{x + 1}" y="1" width="18" height="18" fill="{GOOD if done else "none"}" stroke="{GOOD}"/>'
        if done:
            squares += f'<path d="M{x + 5} 10 l4 4 l7 -8" stroke="#fff" stroke-width="2" fill="none"/>'
        elif tried:
            squares += f'<path d="M{x + 1} 19 L{x + 19} 1" stroke="{GOOD}" stroke-width="2"/>'
    words = ", ".join(f"{n} {'done' if d else 'tried' if t else 'open'}" for n, d, t in row["marks"])
    return f'<svg width="{22 * len(row["marks"])}" height="20" role="img" aria-label="{escape(words)}">{squares}</svg>'


def as_html(rows: list[Row], guesses: list[GuessRow]) -> str:
    cell = 'style="text-align:left;padding:.1em 1em .1em 0"'
    body = "".join(
        f"<tr><td {cell}>{escape(r['lesson'])}</td><td {cell}>{bar(r)}</td><td {cell}>{r['points']} of {r['of']}</td>"
        f"<td {cell}>{r['hints']}</td></tr>"
        for r in rows
    )
    head = "".join(f"<th {cell}>{h}</th>" for h in ("lesson", "tasks", "points", "hints opened"))
    page = f"<table><tr>{head}</tr>{body}</table>"
    if guesses:
        body = "".join(
            f"<tr>{''.join(f'<td {cell}>{escape(x)}</td>' for x in row[:3])}<td {cell}>{'● ' if row[4] else ''}"
            f"{escape(row[3])}</td></tr>"
            for row in guesses
        )
        head = "".join(f"<th {cell}>{h}</th>" for h in ("guess", "yours", "value", "how close"))
        page += f"<table><tr>{head}</tr>{body}</table>"
    return page + f'<div style="color:{QUIET}">Kept on this machine only. A Colab machine forgets: export_progress().</div>'


def export_progress(path: str | Path = "coursekit-progress.json") -> None:
    """Write the progress to a file of your own; on Colab it is also offered as a download."""
    path = Path(path).expanduser()
    try:
        path.write_text(json.dumps(store.load(), indent=1, sort_keys=True), encoding="utf-8")
    except OSError as problem:
        return show(f"export_progress: {path} cannot be written ({problem}); name another place.")
    show(f"Your progress is in {path}. Bring it back with import_progress({str(path)!r}).")
    try:
        from google.colab import files
    except ImportError:
        return None
    files.download(str(path))


def import_progress(path: str | Path = "coursekit-progress.json") -> None:
    """Add the progress of an exported file to the progress here. Nothing that is done here is lost."""
    path = Path(path).expanduser()
    try:
        theirs, why = store.understood(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        return show(f"import_progress: {path} cannot be read ({problem}).")
    if theirs is None:
        return show(f"import_progress: {path} is {why}; it was left as it is, and nothing was changed here.")
    with store.changing() as data:
        data.update(store.merge(data, theirs))
    show(f"Added: {len(theirs['tasks'])} tasks and {len(theirs['guesses'])} guesses from {path}.")

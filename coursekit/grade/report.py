"""What grading leaves: the CSV, one feedback page a student, and a summary of the class."""

import csv
import html
import io
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .. import words
from ..examine import DONE, MISSING, NOT_HERE, TODO, Verdict
from ..task import Task, tasks_of

Row = dict[str, Any]  # a graded submission: key, student, file, and lesson with verdicts, or a problem

STYLE = (
    "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:56em;margin:2em auto;padding:0 1em;color:#222}"
    "code,pre{font-family:ui-monospace,monospace;white-space:pre-wrap}table.t{border-collapse:collapse}"
    "table.t td,table.t th{padding:.2em .9em;border-bottom:1px solid #ccc;text-align:left}"
    ".bar{background:#0072b2;height:.9em;display:inline-block;vertical-align:middle}h2{margin-top:1.6em}"
    ".points{float:right;font-weight:normal;font-size:.8em}td.n{text-align:right!important}</style>"
)


def verdicts_of(row: Row) -> dict[str, Verdict]:
    return {name: Verdict.from_dict(v) for name, v in row.get("verdicts", {}).items()}


def graded_tasks(row: Row) -> list[Task]:
    """The tasks of a row's exercise, without those that could not be graded on this machine; none for a file without a lesson."""
    got = verdicts_of(row)
    return [t for t in tasks_of(row["lesson"]) if t.id not in got or got[t.id].status != NOT_HERE] if "lesson" in row else []


def points_of(row: Row) -> dict[str, int]:
    """{task id: points} of what was graded in a row; empty for a file that could not be read."""
    got = verdicts_of(row)
    return {t.id: t.points if got[t.id].status == DONE else 0 for t in graded_tasks(row)} if got else {}


def out_of(row: Row) -> int:
    return sum(t.points for t in graded_tasks(row))


def in_short(row: Row) -> str:
    if "problem" in row:
        what = " ".join(row["problem"].split())[:90]
        return f"not graded: {what}" if row.get("ungraded") else f"0 points: {what}"
    return f"{sum(points_of(row).values())} of {out_of(row)}"


def remarks(row: Row) -> str:
    """One line on everything that is not plainly right or open."""
    if "problem" in row:
        return f"not graded: {row['problem']}" if row.get("ungraded") else row["problem"]
    return "; ".join(
        f"{name}: {v.note.rstrip('.') or v.slip}" if not v.finding else f"{name}: {v.slip}"
        for name, v in verdicts_of(row).items()
        if v.status not in (DONE, TODO)
    )


def plain_cell(text: Any) -> str:
    """A text that a spreadsheet shows and never runs."""
    text = re.sub(r"[\x00-\x1f\x7f]", " ", str(text))
    text = re.sub(r"([;|]\s*)(?=[=+\-@])", r"\1'", text)  # a program that splits at ; or | begins a cell there
    return "'" + text if text.lstrip().startswith(("=", "+", "-", "@")) else text


def csv_text(rows: list[Row]) -> str:
    ids = sorted({t.id for row in rows if "lesson" in row for t in tasks_of(row["lesson"])})
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["student", "file", *ids, "total", "out_of", "remarks"])
    for row in sorted(rows, key=lambda r: (r["student"].casefold(), r["file"])):
        points = points_of(row)
        table.writerow(
            [
                plain_cell(row["student"]),
                plain_cell(row["file"]),
                *[points.get(i, "") for i in ids],
                points_cell(row),
                out_of(row) or "",
                plain_cell(remarks(row)),
            ]
        )
    return file.getvalue()


def points_cell(row: Row) -> Any:
    """Nothing for a row that was not graded: a 0 would look like one that was."""
    return "" if row.get("ungraded") else sum(points_of(row).values())


def put(path: Path, text: str) -> None:
    """Whole or not at all, and without a sign that a terminal would obey."""
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", text)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, encoding="utf-8", errors="replace")
    os.replace(fresh, path)


def write_all(rows: list[Row], out: Path, feedback: str | None, settings: dict[str, Any], say: Callable[[str], Any]) -> None:
    put(out, csv_text(rows))
    say(f"\n{out}: {len(rows)} rows; seed {settings['seed']} (give it as --seed for the same hidden cases)")
    say(summary_text(rows))
    if feedback:
        folder, names = Path(feedback), page_names(rows)
        for row, name in zip(rows, names):
            put(folder / name, page(row))
        put(folder / "class" / "summary.html", summary_page(rows, names))
        say(f"{folder}: {len(rows)} feedback pages, and class/summary.html")


def page_names(rows: list[Row]) -> list[str]:
    """A file name for each row, no two alike."""
    names: list[str] = []
    seen: set[str] = set()
    for row in rows:
        name = re.sub(r"[^\w.() -]", "_", row["student"])[:80]
        name = name.encode()[:200].decode(errors="ignore").strip(". ") or "student"  # a file's name has 255 bytes at most
        number, free = 1, name
        while alike(free) in seen:
            number += 1
            free = f"{name}-{number}"
        seen.add(alike(free))
        names.append(f"{free}.html")
    return names


def alike(name: str) -> str:
    """The same for names that some file systems take for one: of upper and lower case, é as one sign or as two."""
    return unicodedata.normalize("NFC", name).casefold()


def page(row: Row) -> str:
    """The feedback page of one submission."""
    title = html.escape(f"Feedback for {row['student']}")
    body = f"<h1>{title}</h1><p>{html.escape(row['file'])}</p>"
    if "problem" in row:
        body += f"<p><b>{'Not graded.' if row.get('ungraded') else '0 points.'}</b> {html.escape(row['problem'])}.</p>"
    else:
        body += f"<p><b>{sum(points_of(row).values())} of {out_of(row)} points</b></p>" + sections(row)
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>{STYLE}'
    return f"{head}<body>{body}</body></html>\n"


def sections(row: Row) -> str:
    got, points, out = verdicts_of(row), points_of(row), ""
    for task in tasks_of(row["lesson"]):
        told = f"{points[task.id]} of {task.points}" if task.id in points else "not graded here"
        earned = f'<span class="points">{told}</span>'
        out += f"<h2>{task.id} {html.escape(task.title)} {earned}</h2>"
        try:
            out += words.as_html(task, got[task.id], next_step=False)
        except Exception as problem:  # noqa: BLE001 (one page must not cost the others theirs)
            out += f"<p>The grader found no words for this ({type(problem).__name__}). The points stand.</p>"
    return out


def mistakes(rows: list[Row]) -> list[tuple[int, str, str]]:
    """[(how many, task, what)], the commonest first."""
    count: Counter[tuple[str, str]] = Counter()
    for row in rows:
        for name, v in verdicts_of(row).items():
            if v.status not in (DONE, NOT_HERE):
                slip = " ".join(v.slip.split())  # an exception may have a name of several lines
                count[name, {TODO: "not done", MISSING: "answer missing"}.get(v.status, slip)] += 1
    return [(n, name, what) for (name, what), n in sorted(count.items(), key=lambda item: (-item[1], item[0]))]


def by_task(rows: list[Row]) -> list[tuple[str, str, int, int]]:
    """[(task id, title, how many have it right, of how many)] of every exercise that was handed in."""
    graded = [row for row in rows if "lesson" in row]
    tasks = [task for number in sorted({row["lesson"] for row in graded}) for task in tasks_of(number)]
    got = {t.id: [points_of(row)[t.id] > 0 for row in graded if t.id in points_of(row)] for t in tasks}
    return [(t.id, t.title, sum(got[t.id]), len(got[t.id])) for t in tasks]


def histogram(rows: list[Row]) -> list[tuple[str, int]]:
    """[(label, how many)] in tenths of the points to be had."""
    shares = [sum(points_of(r).values()) / out_of(r) if out_of(r) else 0.0 for r in rows if not r.get("ungraded")]
    bins = [0] * 11
    for share in shares:
        bins[int(share * 10 + 1e-9)] += 1
    return [(f"{10 * i}-{10 * i + 9} %" if i < 10 else "100 %", n) for i, n in enumerate(bins)]


def mean_points(rows: list[Row]) -> float:
    graded = [sum(points_of(r).values()) for r in rows if not r.get("ungraded")]
    return sum(graded) / len(graded) if graded else 0.0


def summary_text(rows: list[Row]) -> str:
    lines = [f"{len(rows)} submissions, mean {mean_points(rows):.1f} points", "", "points of the class"]
    widest = max((n for _, n in histogram(rows)), default=1) or 1
    lines += [f"  {label:>8} {'█' * round(30 * n / widest)} {n or ''}".rstrip() for label, n in histogram(rows)]
    lines += ["", "commonest mistakes"] + [f"  {n:>4} x {name} {what}" for n, name, what in mistakes(rows)[:10]]
    return "\n".join(lines)


def bar(share: float, words: Any) -> str:
    return f'<span class="bar" style="width:{20 * share:.2f}em"></span> {words}'


def summary_page(rows: list[Row], names: list[str]) -> str:
    widest = max((n for _, n in histogram(rows)), default=1) or 1
    bars = "".join(f'<tr><td class="n">{label}</td><td>{bar(n / widest, n or "")}</td></tr>' for label, n in histogram(rows))
    tasks = "".join(
        f"<tr><td>{name}</td><td>{html.escape(title)}</td><td>{bar(right / of, f'{right} of {of}')}</td></tr>"
        for name, title, right, of in by_task(rows)
    )
    wrong = "".join(
        f'<tr><td class="n">{n}</td><td>{name}</td><td>{html.escape(what)}</td></tr>' for n, name, what in mistakes(rows)[:20]
    )
    people = "".join(
        f'<tr><td><a href="../{quote(name)}">{html.escape(r["student"])}</a></td><td class="n">{points_cell(r)}</td>'
        f"<td>{html.escape(remarks(r))}</td></tr>"
        for r, name in sorted(zip(rows, names), key=lambda pair: pair[0]["student"].casefold())
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Class summary</title>{STYLE}<body>'
        f"<h1>Class summary</h1><p>{len(rows)} submissions, mean {mean_points(rows):.1f} points.</p>"
        f'<h2>Points</h2><table class="t">{bars}</table><h2>Right answers</h2><table class="t">{tasks}</table>'
        "<h2>Commonest mistakes</h2>"
        '<table class="t"><tr><th>how many</th>'
        f'<th>task</th><th>what</th></tr>{wrong}</table><h2>Everybody</h2><table class="t"><tr><th>student</th>'
        f"<th>points</th><th>remarks</th></tr>{people}</table></body></html>\n"
    )

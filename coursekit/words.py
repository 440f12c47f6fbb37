"""A verdict in words: the message of a check, as text and as HTML. The grader's feedback uses the same."""

from . import show
from .examine import BROKEN, DONE, ERROR, LATE, MISSING, NOT_HERE, TODO, WRONG, Verdict
from .task import Finding, Task

# no slip of the code's stopped it: what came back cannot be judged or is not the learner's own, or it could not even be begun
NO_ERROR = (
    "not plain data",
    "changes its input",
    "no scheduler",
    "the engine's own work",
    "other arguments",
    "something missing",
)


def head(task: Task, verdict: Verdict) -> str:
    return {
        DONE: f"✓ {task.id} {task.name}: right on all {verdict.tried} cases.",
        TODO: f"○ {task.id} {task.name}: not done yet.",
        WRONG: f"✗ {task.id} {task.name}: not right yet.",
        ERROR: f"✗ {task.id} {task.name}: {'not right yet' if verdict.slip in NO_ERROR else 'your code stopped with an error'}.",
        LATE: f"✗ {task.id} {task.name}: {verdict.note}",
        MISSING: f"○ {task.id} {task.name}: {verdict.note}",
        BROKEN: f"✗ {task.id} {task.name}: {verdict.note}",
        NOT_HERE: f"– {task.id} {task.name}: {verdict.note}",
    }[verdict.status]


def advice(task: Task, verdict: Verdict) -> str:
    """One line on what to do next."""
    if verdict.status == TODO:
        return f'Write your answer above the `raise` line and run this cell again. Stuck? hint("{task.id}")'
    if verdict.status == LATE:
        return "Is there a loop whose end is never reached?"
    if verdict.status in (WRONG, ERROR):
        return f'Stuck? hint("{task.id}")'
    return ""


def facts(task: Task, verdict: Verdict) -> list[tuple[str, str]]:
    """The rows of a failure: (name, text)."""
    rows = [("remark", verdict.note)] if verdict.status == DONE and verdict.note else []
    if verdict.finding:
        rows.append(("should hold", verdict.finding.rule))
    if verdict.args is not None and verdict.status not in (TODO, MISSING):
        what = "case" if task.scene else "call"  # a scene is told in words, it is no call
        word = f"smallest failing {what}" if verdict.status in (WRONG, ERROR) else f"the {what}"
        rows.append((word, task.call_text(verdict.args)))
    if verdict.where:
        rows.append(("stopped at", verdict.where))
    if verdict.finding:
        rows.append(("likely cause", verdict.finding.cause))
    return rows


def shown_finding(verdict: Verdict) -> Finding | None:
    """The finding, where its values are shown."""
    return verdict.finding if verdict.status == WRONG else None


def as_text(task: Task, verdict: Verdict, printed: str = "", next_step: bool = True) -> str:
    lines = [head(task, verdict)]
    rows = facts(task, verdict)
    for name, text in rows:
        if name == "likely cause" and (finding := shown_finding(verdict)) is not None:
            lines.append(show.compare_text(finding, task))
        lines.append(f"  {name}: {text}")
    if printed:
        lines += ["  your code printed:"] + ["    " + line for line in printed.rstrip("\n").split("\n")[:12]]
    if next_step and advice(task, verdict):
        lines.append("  " + advice(task, verdict))
    return "\n".join(lines)


def as_html(task: Task, verdict: Verdict, printed: str = "", next_step: bool = True) -> str:
    body = ""
    for name, text in facts(task, verdict):
        if name == "likely cause" and (finding := shown_finding(verdict)) is not None:
            body += show.compare_html(finding, task)
        code = name in ("smallest failing call", "smallest failing case", "the call", "the case", "stopped at")
        shown = f"<code>{show.escape(text)}</code>" if code else show.escape(text)
        body += f'<div><span style="color:{show.QUIET}">{name}:</span> {shown}</div>'
    if printed:
        body += f'<div style="color:{show.QUIET}">your code printed:</div><pre>{show.escape(printed[:1000])}</pre>'
    if next_step and advice(task, verdict):
        body += f"<div>{show.escape(advice(task, verdict))}</div>"
    colour = show.GOOD if verdict.status == DONE else show.QUIET if verdict.status in (TODO, MISSING, NOT_HERE) else show.BAD
    return show.box(colour, show.escape(head(task, verdict)), body)

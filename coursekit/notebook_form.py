"""The one form in which notebooks are stored, and what is wrong with one that is not in it.

Clean form: no metadata but tags and folds, cell ids ``<file>-NNN``, no widget state, one kernelspec. Two things are
folded: the set-up cell, and the outputs between a guess and its ``reveal``, which would tell the answer, as would a
figure right behind it.
A player's widget view goes when a picture stands beside it: GitHub shows the picture, and JupyterLab would look
for a widget that is no more.
A notebook is nbformat's tree here. nbformat is imported where it is needed: a learner's install can do without it.
"""

import copy
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .setup_cell import cell_metadata

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
SKIP, RAISES, RAISES_NBVAL = "nbval-skip", "raises-exception", "nbval-raises-exception"
GUESSED, REVEALED = (re.compile(rf'\b{call}\(\s*"([\w.]+)"') for call in ("predict", "reveal"))
# JupyterLab knows the first and opens the output when the cell is run; Colab and older notebooks know the second
FOLDED: dict[str, Any] = {"jupyter": {"outputs_hidden": True}, "collapsed": True}
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}


class NotUsable(Exception):
    """A path or a file that this tool cannot work with; the message says why."""


def read(path: Path) -> Any:
    """The notebook as nbformat's tree of format 4, lines joined, not validated."""
    import nbformat

    try:
        book = nbformat.v4.reads(path.read_text(encoding="utf-8"))
        if book.nbformat == 4 and isinstance(book.cells, list):
            return book
    except (ValueError, AttributeError, TypeError) as problem:
        raise NotUsable(f"{path}: not a notebook ({problem})") from None
    raise NotUsable(f"{path}: a notebook of format {book.nbformat}; open and save it in JupyterLab first")


def write(book: Any, path: Path) -> None:
    """Store the notebook whole or not at all."""
    import nbformat

    try:
        nbformat.validate(book)
    except nbformat.ValidationError as problem:
        raise NotUsable(f"{path}: not a valid notebook ({problem.message})") from None
    part = path.with_name(path.name + ".part")
    part.write_text(nbformat.v4.writes(book) + "\n", encoding="utf-8")
    os.replace(part, path)


def tags(cell: Any) -> list[str]:
    return list(cell.metadata.get("tags", []))


def runnable(book: Any) -> Iterator[tuple[int, Any]]:
    """(index, cell) of the cells that a run executes."""
    for index, cell in enumerate(book.cells):
        if cell.cell_type == "code" and cell.source.strip() and SKIP not in tags(cell):
            yield index, cell


def cleaned(book: Any, stem: str) -> Any:
    """A copy of the notebook in the one form that is stored."""
    book = copy.deepcopy(book)
    book.nbformat_minor = 5
    book.metadata = clean_metadata(book.metadata)
    stem = re.sub(r"[^A-Za-z0-9_-]", "-", stem)[:56]
    folded = answers(book.cells)
    for number, cell in enumerate(book.cells, 1):
        cell.id = f"{stem}-{number:03d}"
        fold = FOLDED if number - 1 in folded else {}
        cell.metadata = type(cell)({**fold, **cell_metadata(cell.source, tags(cell))})
        if cell.cell_type == "code":
            clean_code(cell)
    return book


def answers(cells: list[Any]) -> set[int]:
    """Indices of the code cells with outputs behind a ``predict(name)``, up to the one with the ``reveal(name)``, and the
    figure right behind that one: it draws the answer.
    """
    found: set[int] = set()
    for start, cell in enumerate(cells):
        for name in GUESSED.findall(cell.source) if cell.cell_type == "code" else ():
            ends = (i for i in range(start + 1, len(cells)) if name in REVEALED.findall(cells[i].source))
            if end := next(ends, 0):
                end += has_figure(cells[end + 1 :])
                found |= {i for i in range(start + 1, end + 1) if cells[i].get("outputs")}
    return found


def has_figure(cells: list[Any]) -> bool:
    """Whether the first of these cells drew a picture."""
    return any("image/png" in output.get("data", {}) for cell in cells[:1] for output in cell.get("outputs", []))


def clean_metadata(metadata: Any) -> Any:
    new = type(metadata)(kernelspec=dict(KERNELSPEC), language_info={"name": "python"})
    for key in ("accelerator", "coursekit"):  # "GPU" asks Colab for one; coursekit names the exercise
        if key in metadata:
            new[key] = metadata[key]
    if metadata.get("colab", {}).get("gpuType"):
        new.colab = {"gpuType": metadata.colab.gpuType}
    return new


def clean_code(cell: Any) -> None:
    if not cell.source.strip():
        cell.outputs, cell.execution_count = [], None
    cell.outputs = [clean_output(output, cell.execution_count) for output in cell.outputs]


def clean_output(output: Any, count: int | None) -> Any:
    """One output without what belongs to a front end or to one run of one machine."""
    if output.output_type == "error":  # the frames name files of this machine and of this run
        output.traceback = [f"{output.ename}: {output.evalue}"]
    if "data" in output:
        for mime in [m for m in output.data if m.startswith("application/vnd.google.colaboratory")]:
            del output.data[mime]
        if WIDGET_VIEW in output.data and len(output.data) > 1:  # without its model, it hides the picture beside it
            del output.data[WIDGET_VIEW]
        output.metadata = type(output)({m: v for m, v in output.metadata.items() if m in output.data})
    if output.output_type == "execute_result":
        output.execution_count = count
    return output


def problems(book: Any, stem: str, unrun_ok: bool = False) -> list[str]:
    """The reasons why the notebook should not be stored as it is, in words; none if all is well."""
    return [*form_problems(book, cleaned(book, stem)), *run_problems(book, unrun_ok), *output_problems(book)]


def form_problems(book: Any, clean: Any) -> list[str]:
    found = []
    if book.get("nbformat_minor") != 5:
        found.append(f"notebook format 4.{book.get('nbformat_minor')}, not 4.5")
    keys = [k for k in sorted({*book.metadata, *clean.metadata}) if book.metadata.get(k) != clean.metadata.get(k)]
    if keys:
        found.append(f"notebook metadata not in clean form: {', '.join(keys)}")
    pairs = list(enumerate(zip(book.cells, clean.cells, strict=True), 1))
    odd = [(number, old.get("id"), new.id) for number, (old, new) in pairs if old.get("id") != new.id]
    if odd:
        found.append("cell {}: id {!r}, not {!r}".format(*odd[0]) + (f", and {len(odd) - 1} more" if odd[1:] else ""))
    for number, (old, new) in pairs:
        extra = [k for k in sorted({*old.metadata, *new.metadata}) if old.metadata.get(k) != new.metadata.get(k)]
        if extra:
            found.append(f"cell {number}: metadata not in clean form: {', '.join(extra)}")
        if old.get("outputs") != new.get("outputs"):
            found.append(f"cell {number}: outputs not in clean form ({output_difference(old, new)})")
    return found


def output_difference(old: Any, new: Any) -> str:
    for before, after in zip(old.outputs, new.outputs, strict=False):
        gone = [mime for mime in before.get("data", {}) if mime not in after.get("data", {})]
        if gone:
            return f"holds {', '.join(gone)}"
        keys = [key for key in before if before[key] != after.get(key)]
        if keys:
            return f"differs in {', '.join(keys)}"
    return "an empty cell holds outputs"


def run_problems(book: Any, unrun_ok: bool) -> list[str]:
    """Execution counts 1..n, as only a run from top to bottom gives; or, where that is allowed, none at all."""
    counts = [(index + 1, cell.get("execution_count")) for index, cell in runnable(book)]
    if counts and not any(count for _, count in counts):
        return [] if unrun_ok else ["has not been run"]
    for expected, (number, count) in enumerate(counts, 1):
        if count is None:
            return [f"cell {number}: has not been run"]
        if count != expected:
            return [f"cell {number}: execution count {count}, expected {expected}: not run top to bottom"]
    return []


def output_problems(book: Any) -> list[str]:
    found = []
    places = {f"{Path.cwd()}/", f"{Path.home()}/", f"{sys.prefix}/"}
    for number, cell in enumerate(book.cells, 1):
        if RAISES_NBVAL in tags(cell):
            found.append(f"cell {number}: tag {RAISES!r} instead of {RAISES_NBVAL!r}: nbval and nbclient both know it")
        for output in cell.get("outputs", []):
            if output.output_type == "error" and RAISES not in tags(cell):
                found.append(f"cell {number}: stored with an error, {output.ename}: {str(output.evalue)[:80]}")
            shown = output.get("text") or "".join(map(str, output.get("data", {}).values()))
            for place in sorted(p for p in places if p != "/" and p in shown):
                found.append(f"cell {number}: its output names a folder of this machine, {place}")
    return found

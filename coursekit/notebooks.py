"""coursekit notebooks run | clean | check, and coursekit badges: notebooks as files that live in a repository.

run    executes each notebook top to bottom in a fresh kernel of this Python and stores its outputs, cleaned;
       a notebook that fails is left as it was. With --alone a run that anything disturbed is refused: such a notebook
       is run again, and if it does not help, nothing of the sitting is stored.
clean  brings stored notebooks to one form, so that a difference between two versions is a difference in content:
       no metadata but tags and folds (the set-up cell, what answers a guess), cell ids ``<file>-NNN``, no widget state,
       one kernelspec.
check  changes nothing and says what is not in that form, not run top to bottom, or stored with an error.
       Notebooks in a folder exercises/ are stored without having been run.

Also ``python -m coursekit.notebooks run ...``. The form itself is in notebook_form.py.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .alone import Alone
from .badges import REPO_NAME, address, readme_with_badges, with_badge
from .notebook_form import SKIP, NotUsable, cleaned, problems, read, runnable, write

FOLDERS, UNRUN = ("notebooks", "solutions"), "exercises"
# ipykernel warns at each start that it talks over TCP, in the middle of a progress line: errors only
KERNEL = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
TRIES = 3  # of a notebook, until nothing disturbs it
WHICH = "notebooks or folders (default: notebooks solutions, and for check exercises too)"


# --- which notebooks --------------------------------------------------------------------------------------------------


def find(paths: Sequence[str | Path], changed: bool = False) -> list[Path]:
    """The notebooks named by files and folders; with ``changed``, those of them that differ from the last commit."""
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            found += sorted(p for p in path.rglob("*.ipynb") if not hidden(p.relative_to(path)))
        elif path.is_file():
            found.append(path)
        else:
            raise NotUsable(f"{path}: no such file or folder")
    found = list(dict.fromkeys(found))
    if changed:
        touched = touched_files()
        found = [path for path in found if path.resolve() in touched]
    return found


def hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def touched_files() -> set[Path]:
    """What differs from the last commit: edited, staged or not yet known to git."""
    top = Path(git("rev-parse", "--show-toplevel").strip())
    names = git("ls-files", "-z", "--others", "--exclude-standard", cwd=top)
    try:
        names += git("diff", "-z", "--name-only", "--diff-filter=d", "HEAD", cwd=top)
    except NotUsable:  # no commit yet: everything is new
        names += git("ls-files", "-z", cwd=top)
    return {(top / name).resolve() for name in names.split("\0") if name}


def git(*arguments: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise NotUsable("--changed asks git, and git is not installed") from None
    if done.returncode:
        raise NotUsable(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


# --- running ----------------------------------------------------------------------------------------------------------


class CellFailed(Exception):
    """A cell raised, ran too long or killed its kernel; the message is what to show."""


def execute(book: Any, folder: Path, timeout: float) -> None:
    """Run all cells in a fresh kernel of this very Python, in the notebook's own folder. Changes ``book``."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellControlSignal, DeadKernelError

    class ThisPython(AsyncKernelManager):
        """No look-up by name: a kernel registered elsewhere as python3 would win over this environment's."""

        kernel_spec = KernelSpec(argv=KERNEL, display_name="Python 3", language="python")

    at = [0]

    def note_cell(cell: Any, cell_index: int) -> None:
        at[0] = cell_index

    client = NotebookClient(book, timeout=timeout, record_timing=False, coalesce_streams=True, skip_cells_with_tag=SKIP,
                            on_cell_start=note_cell, resources={"metadata": {"path": str(folder)}})  # fmt: skip
    client.kernel_manager_class = ThisPython
    try:
        client.execute()
    except (CellControlSignal, DeadKernelError) as problem:
        raise CellFailed(failure(book.cells[at[0]], at[0] + 1, problem)) from None


def failure(cell: Any, number: int, problem: BaseException) -> str:
    """The failing cell in a few lines: where, which line, what was raised."""
    name = getattr(problem, "ename", "") or type(problem).__name__
    value = getattr(problem, "evalue", "") or str(problem)
    lines = [f"cell {number} failed: {name}: {value.strip().splitlines()[0][:200] if value.strip() else ''}"]
    arrow = re.search(r"-+> (\d+)", plain(getattr(problem, "traceback", "")))
    source = cell.source.splitlines()
    line = min(int(arrow.group(1)), len(source)) if arrow else 1
    lines += [f"    {'>' if n == line and arrow else ' '} {n:3d} {source[n - 1]}"
              for n in range(max(1, line - 2), min(len(source), line + 2) + 1)]  # fmt: skip
    return "\n".join(lines)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def ran(path: Path, timeout: float) -> Any:
    """Execute one notebook; returns it cleaned, to be stored."""
    book = read(path)
    execute(book, path.parent.resolve(), timeout)
    return cleaned(book, path.stem)


def store(book: Any, path: Path) -> None:
    if book != read(path):
        write(book, path)


def run(paths: Sequence[str | Path], changed: bool = False, timeout: float = 600, alone: bool = False) -> int:
    """Run the notebooks; returns the exit code. alone: store all of them or none, and none that was disturbed."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    books, done, start = find(paths, changed), {}, time.perf_counter()
    watch = Alone() if alone else None
    for path in books:
        begun = time.perf_counter()
        print(f"{path} ... ", end="", flush=True)
        try:
            done[path] = undisturbed(path, timeout, watch) if watch else ran(path, timeout)
            print(f"{sum(1 for _ in runnable(done[path]))} cells, {time.perf_counter() - begun:.1f} s", flush=True)
            if not watch:
                store(done[path], path)
        except (CellFailed, NotUsable) as problem:
            print(f"FAILED after {time.perf_counter() - begun:.1f} s; left as it was\n  {problem}", flush=True)
            if watch:
                break
    print(f"{len(done)} of {len(books)} notebooks run in {time.perf_counter() - start:.1f} s")
    if watch and len(done) == len(books):
        for path, book in done.items():
            store(book, path)
    elif watch:
        print("one sitting, all or none: nothing was stored")
    return 0 if len(done) == len(books) else 1


def undisturbed(path: Path, timeout: float, watch: Alone) -> Any:
    """The notebook as run while nothing else did."""
    for _ in range(TRIES):
        watch.start()
        book = ran(path, timeout)
        reason = watch.disturbed()
        if not reason:
            return book
        print(f"refused, {reason} ... ", end="", flush=True)
    raise CellFailed(f"disturbed {TRIES} times: end what else runs (top names it), then run all of them again")


def clean(paths: Sequence[str | Path], changed: bool = False) -> int:
    """Bring the notebooks to clean form; returns the exit code."""
    books, mended = find(paths, changed), 0
    for path in books:
        book = read(path)
        new = cleaned(book, path.stem)
        if new != book:
            write(new, path)
            mended += 1
            print(f"cleaned {path}")
    print(f"{mended} of {len(books)} notebooks cleaned, the others were clean")
    return 0


def check(paths: Sequence[str | Path], changed: bool = False, unrun_ok: bool = False) -> int:
    """Print what is wrong with the notebooks, change nothing; returns the exit code."""
    books, bad = find(paths, changed), 0
    for path in books:
        try:
            reasons = problems(read(path), path.stem, unrun_ok or path.resolve().parent.name == UNRUN)
        except NotUsable as problem:
            reasons = [str(problem).removeprefix(f"{path}: ")]
        if reasons:
            bad += 1
            print("\n    ".join([f"{path}:", *reasons]))
    print(f"{len(books) - bad} of {len(books)} notebooks are fit to be stored")
    if bad:
        print("mend the form with `coursekit notebooks clean PATH`, the rest with `coursekit notebooks run PATH`")
    return 1 if bad else 0


def badges(paths: Sequence[str | Path], repo: str | None = None, branch: str = "main") -> int:
    """Write the Colab badges for OWNER/REPO, or without one take them away; returns the exit code."""
    if repo is not None and not REPO_NAME.fullmatch(repo):
        raise NotUsable(f"{repo!r} is not OWNER/REPO, as in jupyter/notebook")
    books, written = find(paths), 0
    for path in books:
        book = read(path)
        new = with_badge(book, repo and address(path, repo, branch), repo and f"https://github.com/{repo}")
        if new != book:
            write(new, path)
            written += 1
    readme = Path("README.md")
    if readme.is_file():
        readme.write_text(readme_with_badges(readme.read_text(encoding="utf-8"), repo), encoding="utf-8")
    print(f"{written} of {len(books)} notebooks changed; exercises/ follow with `coursekit build`")
    return 0


# --- command line -----------------------------------------------------------------------------------------------------


def add_parser(commands: Any) -> None:
    """Mount ``notebooks`` and ``badges`` on the subparsers of ``coursekit``."""
    top = commands.add_parser("notebooks", help="run, clean or check stored notebooks")
    add_actions(top.add_subparsers(required=True, metavar="ACTION"))
    add_badges(commands)


def add_actions(actions: Any) -> None:
    helps = {"run": "execute top to bottom and store the outputs", "clean": "bring stored notebooks to one form",
             "check": "say what is not fit to be stored; changes nothing"}  # fmt: skip
    for name, text in helps.items():
        action = actions.add_parser(name, help=text)
        action.add_argument("paths", nargs="*", metavar="PATH", help=WHICH)
        action.add_argument("--changed", action="store_true", help="only what differs from the last commit")
        action.set_defaults(run=command, action=name)
        if name == "run":
            action.add_argument("--timeout", type=int, default=600, metavar="S", help="seconds a cell may take (600)")
            action.add_argument("--alone", action="store_true", help="refuse what was disturbed; store all or none (Linux)")
        if name == "check":
            action.add_argument("--unrun-ok", action="store_true", help="a notebook without any outputs is fit too")


def add_badges(commands: Any) -> None:
    parser = commands.add_parser("badges", help="write Colab badges for OWNER/REPO into the notebooks")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("repo", nargs="?", metavar="OWNER/REPO")
    what.add_argument("--remove", action="store_true", help="take the badges and the address away")
    parser.add_argument("--branch", default="main")
    parser.add_argument("--paths", nargs="+", metavar="PATH", help=WHICH)
    parser.set_defaults(run=command, action="badges")


def command(args: argparse.Namespace) -> int:
    """Carry out a parsed command; returns the exit code."""
    try:
        paths = args.paths or default_paths(args.action)
        if args.action == "badges":
            return badges(paths, args.repo, args.branch)
        if args.action == "run":
            return run(paths, args.changed, args.timeout, args.alone)
        return clean(paths, args.changed) if args.action == "clean" else check(paths, args.changed, args.unrun_ok)
    except (NotUsable, OSError) as problem:
        print(f"coursekit: {problem}", file=sys.stderr)
        return 2


def default_paths(action: str) -> list[str]:
    found = [folder for folder in (*FOLDERS, *([UNRUN] if action == "check" else [])) if Path(folder).is_dir()]
    if not found:
        raise NotUsable(f"no folder {' or '.join(FOLDERS)} here: name the notebooks")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m coursekit.notebooks", description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="ACTION")
    add_actions(commands)
    add_badges(commands)
    args = parser.parse_args(argv)
    return args.run(args)


if __name__ == "__main__":
    raise SystemExit(main())

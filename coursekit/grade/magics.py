"""A cell as the notebook runs it: IPython's own lines (!ls, x = !ls, %time f(), name?) in plain Python. Standard library only.

IPython itself is not asked: the sandbox may not have it. What is timed is run; the commands of the system and all other
magics do nothing. Only where a statement begins can a line be IPython's: ``% 4`` inside brackets is Python.
"""

import re

MAGIC = re.compile(r"^(?P<indent>\s*)(?:(?P<names>[^=#!%\"']+?)\s*=\s*)?(?P<mark>%%|%|!!|!)(?P<rest>.*)$")
HELP = re.compile(r"^(?P<indent>\s*)(?:\?{1,2}\s*[%\w.*]+|[%\w.*]+(?:\([^()]*\))?\?{1,2})\s*;?\s*$")
TOKEN = re.compile(r"'''|\"\"\"|\\.|['\"#()\[\]{}]")
RUNS_ITS_CELL = ("time", "capture", "prun", "timeit")


class Lines(list):
    """What ``x = !ls`` gives where no command is run: no line, under each of the names that IPython has for them."""

    n = s = ""

    @property
    def l(self) -> "Lines":  # noqa: E743 (IPython's name for it)
        return self

    p = l


class Reader:
    """Follows brackets, strings and backslashes from line to line. ``fresh``: the next line begins a statement."""

    def __init__(self) -> None:
        self.depth, self.quote, self.fresh = 0, "", True

    def read(self, line: str) -> None:
        for token in TOKEN.findall(line):
            if self.quote:
                if token in (self.quote, self.quote * 3):
                    self.quote = ""
            elif token == "#":
                break
            elif token[0] in "'\"":
                self.quote = token
            else:
                self.depth += (token in "([{") - (token in ")]}")
        goes_on = line.endswith("\\")
        if len(self.quote) == 1 and not goes_on:
            self.quote = ""
        self.fresh = self.depth <= 0 and not self.quote and not goes_on


def without_magics(source: str) -> str:
    """The cell in plain Python, with as many lines as it had."""
    first = re.match(r"%%(\w+)", source)
    if first and first[1] not in RUNS_ITS_CELL:
        return ""  # %%bash, %%html and the like: not one line of it is Python
    out: list[str] = []
    reader, goes_on = Reader(), False
    for line in source.split("\n"):
        if goes_on:  # a command that ends with a backslash has the next line too
            goes_on, line = line.endswith("\\"), ""
        elif reader.fresh and (found := MAGIC.match(line)):
            line = plain(found)
            goes_on = found["rest"].endswith("\\") and not line.endswith("\\")
            reader.read(line)
        elif reader.fresh and (found := HELP.match(line)):
            line = f"{found['indent']}pass"
        else:
            reader.read(line)
        out.append(line)
    return "\n".join(out)


def plain(found: re.Match[str]) -> str:
    """One of IPython's lines in Python."""
    indent, names, mark, rest = found["indent"], found["names"], found["mark"], found["rest"]
    timed = re.match(r"time\s+(?=\S)", rest) if mark == "%" else None
    if timed:
        return f"{indent}{f'{names} = ' if names else ''}{rest[timed.end() :]}"
    if names:
        return f"{indent}{names} = get_ipython().{'getoutput' if mark[0] == '!' else 'run_line_magic'}('', '')"
    return f"{indent}pass"

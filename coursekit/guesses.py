"""``predict`` before a cell is run, ``reveal`` after it: the guess is kept, and scored kindly. Neither ever blocks."""

import math
from typing import Any

from . import store
from .show import GOOD, QUIET, box, escape, show

_here: dict[
    str, Any
] = {}  # the guesses written in this kernel; what is shown depends on these alone, so a re-run prints the same


def predict(name: str, guess: Any = None) -> None:
    """Keep a guess, a number or a word, until ``reveal(name, value)``. ``None`` means no guess."""
    _here[name] = guess
    if guess is None:
        return show(f"No guess for {name} yet. Write one in place of None if you like: guessing first makes it stick.")
    if not isinstance(guess, (int, float, str)):
        return show(f"predict: a guess is a number or a word, not a {type(guess).__name__}.")
    with store.changing() as data:
        row = data["guesses"].setdefault(name, {})
        if "value" not in row:  # once the answer has been seen, a new guess is no guess
            row["guess"] = guess
    show(f"Your guess for {name}: {guess}. Now run on.")


def reveal(name: str, value: Any) -> None:
    """Set the measured or computed value beside the guess. Prints; returns None."""
    value = value.item() if hasattr(value, "item") else value
    guess = _here.get(name)
    if guess is None:
        return show(f"{name}: {tidy(value)}. (You wrote no guess.)")
    with store.changing() as data:
        row = data["guesses"].setdefault(name, {"guess": guess})
        row.setdefault("value", value if isinstance(value, (int, float, str)) else str(value))
    word, good = kindly(guess, value)
    text = f"{name}: you guessed {tidy(guess)}, it is {tidy(value)}. {word}"
    show(text, box(GOOD if good else QUIET, escape(text), ""))


def tidy(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def kindly(guess: Any, value: Any) -> tuple[str, bool]:
    """(a kind word, whether it was close). Numbers are compared by their ratio, words as they are."""
    if isinstance(guess, str) or isinstance(value, str):
        right = str(guess).strip().lower() == str(value).strip().lower()
        return ("Right.", True) if right else ("Not this time; now you know why to look.", False)
    if not (is_number(guess) and is_number(value)):
        return "There is nothing to compare.", False
    if math.isclose(guess, value, rel_tol=1e-9, abs_tol=1e-12):
        return "Exactly right.", True
    if guess * value <= 0:
        return f"Off by {tidy(abs(guess - value))}.", False
    ratio = max(guess / value, value / guess)
    if ratio <= 1.1:
        return "Within a tenth: very close.", True
    if ratio <= 1.5:
        return "Close.", True
    if ratio <= 3:
        return "The right size.", False
    return f"{ratio:.0f} times off: this is the surprise worth keeping.", False


def is_number(x: Any) -> bool:
    return isinstance(x, (int, float)) and math.isfinite(x)

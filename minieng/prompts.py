"""What a user may type as a prompt, and the token ids it becomes.
Every mistake is named before anything is queued.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .job import MOST_SECONDS
from .params import FLOAT_MAX, shown

# Text; token ids, in a list or an array of any library; chat messages; {"prompt": …} or {"prompt_token_ids":
# …}.
Prompt = str | Sequence[int] | list[dict] | dict[str, Any]
PROMPT_KEYS = ("prompt", "prompt_token_ids")


def tokens_of(
    prompt: Prompt, tokenizer: Any, vocab_size: int, model_name: str
) -> tuple[str | None, list[int]]:
    """Text (if there is one) and token ids of a prompt of any kind.
    Raises ValueError naming what is wrong with it.
    """
    text, token_ids = None, prompt
    if isinstance(prompt, dict):
        text, token_ids = unwrapped(prompt)
    if isinstance(token_ids, str):
        text, token_ids = token_ids, tokenizer(valid_text(token_ids))["input_ids"]
    elif isinstance(token_ids, list) and token_ids and all(isinstance(part, dict) for part in token_ids):
        text = chat_text(token_ids, tokenizer, model_name)
        token_ids = tokenizer(valid_text(text), add_special_tokens=False)["input_ids"]
    else:
        token_ids = plain_ids(token_ids)
    if not token_ids:
        raise ValueError("the prompt is empty: there is no token to continue from")
    bad = next((t for t in token_ids if not 0 <= t < vocab_size), None)
    if bad is not None:
        where = (
            ""
            if text is None
            else f" in {text!r:.60}, where the tokenizer put it: the two do not belong together"
        )
        raise ValueError(
            f"token id {shown(bad)} is out of range: the vocabulary has {vocab_size} tokens{where}"
        )
    return text, token_ids


def unwrapped(prompt: dict) -> tuple[str | None, Any]:
    """Text and tokens of a prompt in a dictionary; where there are no tokens, the text in their place."""
    if not is_wrapped(prompt):
        raise ValueError(f"prompt {prompt!r:.60}: a dictionary must have 'prompt' or 'prompt_token_ids'")
    text, token_ids = prompt.get("prompt"), prompt.get("prompt_token_ids")
    if text is not None and not isinstance(text, str):
        raise ValueError(f"prompt {prompt!r:.60}: its 'prompt' must be a string")
    if isinstance(token_ids, str):
        raise ValueError(f"prompt {prompt!r:.60}: its 'prompt_token_ids' must be a list of token ids")
    return (None, text) if token_ids is None else (text, token_ids)


def is_wrapped(prompt: Any) -> bool:
    return isinstance(prompt, dict) and any(prompt.get(key) is not None for key in PROMPT_KEYS)


def chat_text(messages: list[dict], tokenizer: Any, model_name: str) -> str:
    """A conversation as the model's template writes it."""
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(f"{model_name} has no chat template: pass text or token ids")
    if not all(isinstance(m.get("role"), str) and isinstance(m.get("content"), str) for m in messages):
        raise ValueError(f"messages {messages!r:.60}: each must have a 'role' and a 'content', both strings")
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def plain_ids(tokens: Any) -> list[int]:
    """Token ids as Python's own numbers: from a list, and from whatever array has ``tolist``."""
    found = tokens.tolist() if hasattr(tokens, "tolist") else tokens
    if isinstance(found, (list, tuple)):
        found = [t.tolist() if hasattr(t, "tolist") else t for t in found]
        if all(isinstance(t, int) and not isinstance(t, bool) for t in found):
            return found
    raise ValueError(
        f"prompt {tokens!r:.60}: must be a string, a list of token ids, or a list of chat messages"
    )


def valid_text(text: str) -> str:
    """The text as it is, or ValueError if it cannot be written in UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as problem:
        raise ValueError(
            f"the prompt holds a lone surrogate at character {problem.start}: not text"
        ) from None
    return text


def as_list(prompts: Any) -> list:
    """A lone prompt becomes a list of one. A list of numbers is one prompt,
    a list of messages is one conversation.
    """
    if hasattr(prompts, "tolist"):
        prompts = prompts.tolist()
    if isinstance(prompts, (str, dict)):
        return [prompts]
    if not isinstance(prompts, (list, tuple)):
        raise ValueError(
            f"prompts={prompts!r:.60}: must be a string, token ids, chat messages, or a list of these"
        )
    if not prompts:
        raise ValueError("prompts is an empty list: there is nothing to generate")
    messages = all(isinstance(p, dict) and not is_wrapped(p) for p in prompts)
    return [list(prompts)] if messages or all(is_number(p) for p in prompts) else list(prompts)


def is_number(value: Any) -> bool:
    """A whole number of Python, or one of an array (which has a shape, of no dimension)."""
    return isinstance(value, int) or hasattr(value, "tolist") and not getattr(value, "shape", (1,))


def bad_word_tokens(words: Sequence[str], tokenizer: Any) -> list[list[int]]:
    """Each word as the tokens that write it at the beginning of a text,
    and behind a space where those differ.
    """
    found: list[list[int]] = []
    for word in words:
        for text in (word.lstrip(), " " + word.lstrip()):
            tokens = list(tokenizer(valid_text(text), add_special_tokens=False)["input_ids"])
            if tokens and tokens not in found:
                found.append(tokens)
    return found


def each_of(name: str, value: Any, count: int, kind: Any) -> list:
    """One value for all prompts, or a list with one for each."""
    values = [value] * count if isinstance(value, kind) else value
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"{name}={value!r:.60}: of the wrong kind ({type(value).__name__})")
    if len(values) != count:
        raise ValueError(f"{name} has {len(values)} entries for {count} prompts: give one, or one for each")
    for each in values:
        if not isinstance(each, kind):
            raise ValueError(f"{name} holds {each!r:.60}: of the wrong kind ({type(each).__name__})")
    return list(values)


def names_of(request_ids: Sequence[str], count: int, taken: set[str]) -> list[str]:
    """The names that were given to ``count`` prompts. Raises ValueError if one is no name,
    or is taken already.
    """
    ids = list(request_ids)
    if len(ids) != count:
        raise ValueError(f"{len(ids)} request_ids for {count} prompts: give one for each")
    if wrong := [i for i in ids if not isinstance(i, str) or not i]:
        raise ValueError(f"request id {wrong[0]!r}: must be a string of at least one character")
    taken = set(taken)
    for each in ids:
        if each in taken:
            raise ValueError(f"request id {each!r} is in use: choose another or abort it first")
        taken.add(each)
    return ids


def check_times(request_id: str, arrival: float, deadline: float | None) -> None:
    """Both in seconds from now. Raises ValueError if one is none, or if a request is to come in the past."""
    if not 0 <= arrival <= MOST_SECONDS or deadline is not None and not -FLOAT_MAX <= deadline <= FLOAT_MAX:
        times = f"arrival {shown(arrival)} and deadline {shown(deadline)}"
        raise ValueError(f"request {request_id!r}: {times} must be seconds from now")


class NoBar:
    """What stands in for a progress bar where none is shown: tqdm is not everywhere, a web page has none."""

    def __enter__(self) -> NoBar:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def update(self, n: int) -> None:
        pass


def progress_bar(show: bool, total: int, what: str = "requests") -> Any:
    """A context with ``update(n)``: so many requests more are done. ``what``: the words before it."""
    if not show:
        return NoBar()
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=what, unit="request")

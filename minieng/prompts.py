"""What a user may type as a prompt, and the token ids it becomes. Every mistake is named before anything is queued."""

from __future__ import annotations

from typing import Any

Prompt = str | list[int] | list[dict]


def tokens_of(prompt: Any, tokenizer: Any, vocab_size: int, model_name: str) -> tuple[str | None, list[int]]:
    """Text (if there is one) and token ids of a prompt of any kind; ValueError for what is no ``Prompt``."""
    if isinstance(prompt, str):
        text, token_ids = prompt, tokenizer(valid_text(prompt))["input_ids"]
    elif prompt and isinstance(prompt, list) and all(isinstance(part, dict) for part in prompt):
        if not getattr(tokenizer, "chat_template", None):
            raise ValueError(f"{model_name} has no chat template: pass text or token ids")
        if not all(isinstance(m.get("role"), str) and isinstance(m.get("content"), str) for m in prompt):
            raise ValueError(f"messages {prompt!r:.60}: each must have a 'role' and a 'content', both strings")
        text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
        token_ids = tokenizer(valid_text(text), add_special_tokens=False)["input_ids"]
    elif isinstance(prompt, list) and all(isinstance(t, int) and not isinstance(t, bool) for t in prompt):
        text, token_ids = None, list(prompt)
        bad = next((t for t in prompt if not 0 <= t < vocab_size), None)
        if bad is not None:
            raise ValueError(f"token id {bad} is out of range: the vocabulary has {vocab_size} tokens")
    else:
        raise ValueError(f"prompt {prompt!r:.60}: must be a string, a list of token ids, or a list of chat messages")
    if not token_ids:
        raise ValueError("the prompt is empty: there is no token to continue from")
    return text, token_ids


def valid_text(text: str) -> str:
    """The text as it is, or ValueError if it cannot be written in UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as problem:
        raise ValueError(f"the prompt holds a lone surrogate at character {problem.start}: not text") from None
    return text


def as_list(prompts: Any) -> list:
    """A lone prompt becomes a list of one. A list of numbers is one prompt, a list of messages is one conversation."""
    if isinstance(prompts, str):
        return [prompts]
    if not isinstance(prompts, (list, tuple)):
        raise ValueError(f"prompts={prompts!r:.60}: must be a string, token ids, chat messages, or a list of these")
    if not prompts:
        raise ValueError("prompts is an empty list: there is nothing to generate")
    alone = all(isinstance(p, int) for p in prompts) or all(isinstance(p, dict) for p in prompts)
    return [list(prompts)] if alone else list(prompts)


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


def progress_bar(show: bool, total: int) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, desc="requests", disable=not show)

"""Tokens to text while they come: what may be shown already, and whether a stop string has appeared."""

from __future__ import annotations

from typing import Any

from .request import Request

HOLD_BACK = "\ufffd"  # what a decoder writes for the first bytes of a character whose rest has not come


class NoTokenizer:
    """Stands where a model has no vocabulary, because it is simulated: its tokens have no text."""

    def __call__(self, text: str) -> Any:
        raise ValueError(f"prompt {text!r:.60}: a simulated model reads no text: pass token ids")

    def decode(self, tokens: list[int], skip_special_tokens: bool = True) -> str:
        return ""


class TextStream:
    """The growing text of one request.

    A token need not be a whole character, and its text may depend on the token before it; so a window that began
    at a safe place is decoded anew at each token, and text is released when it cannot change any more.
    """

    def __init__(self, tokenizer: Any, request: Request) -> None:
        self.tokenizer, self.request = tokenizer, request
        self.text, self.shown = "", 0
        self._window = self._read = request.num_prompt_tokens
        self._longest_stop = max((len(s) for s in request.params.stop), default=0)

    def push(self) -> bool:
        """Take in the tokens that have come since. True if the text ends at a stop string, which is cut off."""
        tokens = self._tokens()
        before = self._decode(tokens[self._window : self._read])
        now = self._decode(tokens[self._window :])
        if len(now) <= len(before) or now.endswith(HOLD_BACK):
            return False
        searched = max(0, len(self.text) - self._longest_stop + 1)
        self.text += now[len(before) :]
        self._window, self._read = self._read, len(tokens)
        if self.request.num_output_tokens < self.request.params.min_tokens:
            return False
        found = [at for stop in self.request.params.stop if (at := self.text.find(stop, searched)) >= 0]
        if found:
            self.text = self.text[: min(found)]
        return bool(found)

    def flush(self) -> None:
        """The request is over: what was held back is shown as it is."""
        tokens = self._tokens()
        if self._read < len(tokens):
            before = self._decode(tokens[self._window : self._read])
            self.text += self._decode(tokens[self._window :])[len(before) :]
            self._read = len(tokens)

    def new_text(self) -> str:
        """Text that may be shown and has not been: all but a tail that could become a stop string."""
        end = len(self.text)
        if not self.request.is_done:
            end -= max((n for s in self.request.params.stop for n in range(1, len(s)) if self.text.endswith(s[:n])), default=0)
        part, self.shown = self.text[self.shown : max(end, self.shown)], max(end, self.shown)
        return part

    def _tokens(self) -> list[int]:
        """The tokens whose text counts: a token that ended the request is not shown."""
        tokens = self.request.token_ids
        return tokens[:-1] if self.request.finish_reason == "stop" else tokens

    def _decode(self, tokens: list[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=True)

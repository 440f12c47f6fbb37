"""Tokens to text while they come: what may be shown already, and whether a stop string has appeared."""

from __future__ import annotations

from typing import Any

from .request import Request

CONTEXT = 5  # tokens of the prompt that the output is decoded behind
WINDOW = 16  # tokens decoded anew at each step, at least: to begin a window costs a decode, too
HOLD_BACK = "\ufffd"  # what a decoder writes for the first bytes of a character whose rest has not come


class NoTokenizer:
    """Stands where a model has no vocabulary, because it is simulated: its tokens have no text."""

    def __call__(self, text: str, add_special_tokens: bool = True) -> Any:
        raise ValueError(f"{text!r:.60}: a simulated model reads no text: pass token ids")

    def decode(self, tokens: list[int], skip_special_tokens: bool = True) -> str:
        return ""


class TextStream:
    """The growing text of one request.

    A token need not be a whole character, and its text may depend on the token before it; so a window that
    began at a safe place is decoded anew at each token, and text is released when it cannot change any more.
    The first window begins a few tokens before the output: some tokenizers drop the space in front of
    whatever they decode first.

    A stop string ends the text where it is complete for the first time, wherever the tokens break. One that
    is complete within the first ``min_tokens`` tokens does not count.
    """

    def __init__(self, tokenizer: Any, request: Request) -> None:
        self.tokenizer, self.request = tokenizer, request
        self.text, self.shown, self.ended = "", 0, False
        # Tokens decoded; of those, the last that ended a character.
        self._taken = self._whole = request.num_prompt_tokens
        self._window = max(0, self._whole - CONTEXT)
        before = self._decode(request.token_ids[self._window : self._whole])
        # The prompt breaks off inside a character: its rest is no part of the answer.
        if before.endswith(HOLD_BACK):
            self._window, before = self._whole, ""
        # Characters of the window's text that are in ``text``, or are the prompt's.
        self._released = len(before)
        self._searched = 0  # a stop string counts if it ends behind this place

    def push(self) -> bool:
        """Take in the tokens that have come since. True if the text ends at a stop string,
        which is cut off.
        """
        stops, last = self.request.params.stop, len(self._tokens())
        # With stop strings one by one: the result depends on the text alone.
        while self._taken < last and not self.ended:
            self._take(self._taken + 1 if stops else last)
        return self.ended

    def flush(self) -> None:
        """The request is over: what was held back is shown as it is."""
        self.push()
        if not self.ended:
            self._release(self._decode(self._tokens()[self._window :]))
            if self._stops_count():
                self._search()

    def new_text(self) -> str:
        """Text that may be shown and has not been: all but a tail that could become a stop string."""
        end, params = len(self.text), self.request.params
        if not self.request.is_done and not params.include_stop_str_in_output:
            tails = (n for stop in params.stop for n in range(1, len(stop)) if self.text.endswith(stop[:n]))
            end -= max(tails, default=0)
        part, self.shown = self.text[self.shown : max(end, self.shown)], max(end, self.shown)
        return part

    def _take(self, last: int) -> None:
        """Decode up to token ``last``, release the characters that are whole,
        and look for stop strings in them.
        """
        self._taken = last
        now = self._decode(self.request.token_ids[self._window : last])
        whole = now.rstrip(HOLD_BACK)
        grew = self._release(whole)
        if grew and len(whole) == len(now):
            if last - self._window > WINDOW:
                self._window = self._whole
                self._released = len(self._decode(self.request.token_ids[self._window : last]))
            self._whole = last
        if self._stops_count():
            self._search()
        else:
            self._searched = len(self.text)

    def _stops_count(self) -> bool:
        """Whether a stop string that is complete now ends the text:
        behind the first ``min_tokens`` tokens.
        """
        return self._taken - self.request.num_prompt_tokens > self.request.params.min_tokens

    def _release(self, now: str) -> bool:
        """Add what the window's text holds beyond what is known of it. True if there was something."""
        fresh = now[self._released :]
        self.text, self._released = self.text + fresh, self._released + len(fresh)
        return bool(fresh)

    def _search(self) -> None:
        """Cut the text at the stop string that ends first (of two, the one that began first)."""
        params, found = self.request.params, []
        for stop in params.stop:
            at = self.text.find(stop, max(0, self._searched - len(stop) + 1))
            if at >= 0:
                found.append((at + len(stop), at, stop))
        self._searched = len(self.text)
        if found:
            end, begin, self.request.stop_reason = min(found)
            self.text = self.text[: end if params.include_stop_str_in_output else begin]
            self.request.finish_reason, self.ended = "stop", True

    def _tokens(self) -> list[int]:
        """The tokens whose text counts: a token that ended the request is not shown,
        unless that was asked for.
        """
        request = self.request
        ended = (
            request.finish_reason == "stop"
            and not self.ended
            and not request.params.include_stop_str_in_output
        )
        return request.token_ids[:-1] if ended else request.token_ids

    def _decode(self, tokens: list[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=self.request.params.skip_special_tokens)

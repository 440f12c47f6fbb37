"""Tokens to text: characters of several tokens, stop strings across token borders, and what a stream may show."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, seed, settings
from support.models import END, VOCABULARY, make_tokenizer

from minieng.request import Request, SamplingParams
from minieng.text import TextStream

TOKENIZER = make_tokenizer()
TEXTS = st.text("abc stop.\n\u00e9\u20ac\u732b\U0001f600", max_size=14)
# pieces of real text, and single tokens, of which many are bytes that are no characters
TOKENS = st.lists(st.one_of(TEXTS.map(TOKENIZER.encode), st.lists(st.integers(0, VOCABULARY - 1), max_size=3)), max_size=6).map(
    lambda parts: [token for part in parts for token in part]
)
FIXED = settings(max_examples=150, deadline=None, database=None)


def decode(tokens: list[int]) -> str:
    return TOKENIZER.decode(tokens, skip_special_tokens=True)


def feed(tokens: list[int], ends: tuple[int, ...] = (), every: int = 1, **params) -> tuple[TextStream, list[str]]:
    """Let the tokens come as an engine does, and show what may be shown after every ``every`` tokens."""
    params = SamplingParams(max_tokens=max(1, len(tokens)), **params)
    request = Request("a", [1, 2, 3], params, eos_token_ids=ends)
    stream, shown = TextStream(TOKENIZER, request), []
    for i, token in enumerate(tokens):
        request.append(token, 0.0)
        if (params.stop or (i + 1) % every == 0) and stream.push() and params.stop:
            request.finish_reason = "stop"
        if request.is_done:
            break
        if (i + 1) % every == 0:
            shown.append(stream.new_text())
    stream.push()
    stream.flush()
    shown.append(stream.new_text())
    return stream, shown


@seed(1)
@FIXED
@given(TOKENS.filter(len), st.sampled_from([1, 2, 100]))
def test_the_text_is_what_the_tokenizer_decodes_whenever_it_is_asked(tokens, every):
    stream, shown = feed(tokens, every=every)
    assert stream.text == decode(tokens) == "".join(shown)


@seed(2)
@FIXED
@given(TOKENS.filter(len), st.integers(0, VOCABULARY - 1))
def test_a_token_that_ends_the_text_is_not_shown_and_hides_nothing(tokens, end):
    stream, shown = feed(tokens, ends=(end,))
    first = tokens.index(end) if end in tokens else len(tokens)
    assert stream.request.output_token_ids == tokens[: first + 1]
    assert stream.text == decode(tokens[:first]) == "".join(shown)


def test_half_a_character_before_the_end_is_shown_as_it_is():
    """The text came to nothing once: it was held back, and then the end token kept it from being released."""
    half = TOKENIZER.encode("ab\u20ac")[:-1]
    for stop in ((), ("zzz",)):
        stream, shown = feed([*half, END], ends=(END,), stop=stop)
        assert stream.text == decode(half) == "".join(shown) and stream.text.startswith("ab")


def reference(tokens: list[int], stops: list[str], min_tokens: int) -> tuple[int, str]:
    """Tokens until a stop string is in the text, and the text before it: decode everything after every token."""
    for count in range(max(1, min_tokens), len(tokens) + 1):
        text = decode(tokens[:count])
        if count < len(tokens) and text.endswith("\ufffd"):
            continue  # the character is not complete
        found = [text.find(stop) for stop in stops if stop in text]
        if found:
            return count, text[: min(found)]
    return len(tokens), decode(tokens)


@seed(3)
@FIXED
@given(st.lists(TEXTS.filter(bool), min_size=1, max_size=5), st.data())
def test_a_stop_string_ends_the_text_before_it_wherever_the_tokens_break(parts, data):
    text = "".join(parts)
    at = data.draw(st.integers(0, len(text) - 1))
    stops = [text[at : at + data.draw(st.integers(1, 6))]] + data.draw(
        st.lists(st.text("abcst", min_size=1, max_size=3), max_size=2)
    )
    tokens = [token for part in parts for token in TOKENIZER.encode(part)]  # borders inside words, too
    stream, shown = feed(tokens, stop=stops)
    count, want = reference(tokens, stops, 0)
    assert (stream.request.num_output_tokens, stream.text) == (count, want)
    assert "".join(shown) == want, "nothing was shown that had to be taken back"
    assert (stream.request.finish_reason == "stop") == (want != decode(tokens))


def test_a_stop_string_inside_min_tokens_does_not_count_but_one_that_ends_after_it_does():
    tokens = [TOKENIZER.encode(part)[0] for part in "abcab"]
    assert feed(tokens, stop="ab", min_tokens=2)[0].text == ""
    assert feed(tokens, stop="ab", min_tokens=3)[0].text == "abc"
    assert feed(tokens, stop="bc", min_tokens=3)[0].text == "a"


def test_what_could_become_a_stop_string_is_held_back():
    tokens = [TOKENIZER.encode(part)[0] for part in "xstay"]
    _, shown = feed(tokens, stop=["stop", "sta!"])
    assert shown == ["x", "", "", "", "stay"]


@pytest.mark.parametrize("stops", [["b", "abc"], ["abc", "b"]])
def test_of_several_stop_strings_the_one_that_comes_first_counts(stops):
    tokens = [TOKENIZER.encode(part)[0] for part in "xabc"]
    stream, _ = feed(tokens, stop=stops)
    assert stream.text == "xa" and stream.request.num_output_tokens == 3

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
    border, seen = 0, ""
    for count in range(1, len(tokens) + 1):
        seen = decode(tokens[:count])
        if count < len(tokens):
            seen = seen.rstrip("\ufffd")  # the character is not complete
        if count <= min_tokens:
            border = len(seen)
            continue
        ends = [(at + len(s), at) for s in stops for at in range(len(seen)) if seen.startswith(s, at) and at + len(s) > border]
        if ends:
            return count, seen[: min(ends)[1]]
    return len(tokens), seen


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
    assert feed(tokens, stop="ab", min_tokens=1)[0].text == ""
    assert feed(tokens, stop="ab", min_tokens=2)[0].text == "abc", "complete in token number min_tokens: too early"
    assert feed(tokens, stop="bc", min_tokens=2)[0].text == "a"


def test_a_longer_stop_string_that_never_comes_changes_nothing():
    tokens = [TOKENIZER.encode(letter)[0] for letter in "abcdefghijkl"]
    for stops in (["c"], ["c", "zzzzzzzzzz"]):
        assert feed(tokens, stop=stops, min_tokens=6)[0].text == "abcdefghijkl"


@seed(4)
@FIXED
@given(st.lists(TEXTS.filter(bool), min_size=1, max_size=5), st.lists(st.text("abcst\u20ac", min_size=1, max_size=3), max_size=3),
       st.integers(0, 6))  # fmt: skip
def test_nothing_before_min_tokens_counts_and_of_several_the_one_that_ends_first_does(parts, stops, least):
    tokens = [token for part in parts for token in TOKENIZER.encode(part)]
    least = min(least, len(tokens))
    stream, shown = feed(tokens, stop=stops, min_tokens=least)
    count, want = reference(tokens, stops, least)
    assert (stream.request.num_output_tokens, stream.text) == (count, want) and "".join(shown) == want


def test_a_stop_string_is_found_though_its_last_token_ends_in_half_a_character():
    class Halves:
        """Token 9 is a space and the first byte of a character, as merges of bytes make them."""

        def decode(self, tokens, skip_special_tokens=True):
            return "".join({7: "x", 8: "y", 9: " \ufffd"}.get(token, "") for token in tokens)

    request = Request("a", [1], SamplingParams(stop=["y "]))
    stream = TextStream(Halves(), request)
    for token in (7, 8, 9):
        request.append(token, 0.0)
        found = stream.push()
    assert found and stream.text == "x" and request.stop_reason == "y "


def test_text_held_back_until_the_end_is_searched_too():
    half = TOKENIZER.encode("ab\u20ac")[:-1]
    stream, _ = feed(half, stop=["b\ufffd"])
    assert stream.text == "a" and stream.request.finish_reason == "stop" and stream.request.stop_reason == "b\ufffd"


def test_what_ended_a_text_is_told_and_kept_if_asked_for():
    tokens = [TOKENIZER.encode(part)[0] for part in "xabc"]
    stream, shown = feed(tokens, stop=["zz", "ab"], include_stop_str_in_output=True)
    assert stream.text == "".join(shown) == "xab" and stream.request.stop_reason == "ab"
    stream, _ = feed(tokens, stop_token_ids=[tokens[2]])
    assert stream.text == "xa" and stream.request.stop_reason == tokens[2]
    stream, _ = feed(tokens, stop_token_ids=[tokens[2]], include_stop_str_in_output=True)
    assert stream.text == "xab"
    stream, _ = feed(tokens, ends=(tokens[2],))
    assert stream.text == "xa" and stream.request.finish_reason == "stop" and stream.request.stop_reason is None


def test_special_tokens_are_shown_if_asked_for():
    tokens = [TOKENIZER.encode("a")[0], END]
    assert feed(tokens)[0].text == "a"
    assert feed(tokens, skip_special_tokens=False)[0].text == TOKENIZER.decode(tokens)


def test_the_output_goes_on_where_the_prompt_ends():
    """Tokenizers such as Llama-2's drop the space in front of what they decode first: "is" and " Paris" made "isParis"."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    words = {"<unk>": 0, "\u2581France": 1, "\u2581is": 2, "\u2581Paris": 3, "s": 4, "\u2581a": 5}
    own = Tokenizer(models.BPE(words, [], unk_token="<unk>"))
    own.normalizer = normalizers.Replace(" ", "\u2581")
    own.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    request = Request("a", [1, 2], SamplingParams())
    stream = TextStream(own, request)
    for token in (3, 5, 4):
        request.append(token, 0.0)
        stream.push()
    stream.flush()
    assert stream.text == " Paris as"
    assert own.decode([1, 2]) + stream.text == own.decode([1, 2, 3, 5, 4])


@pytest.mark.parametrize("wrong", [dict(stop="a", detokenize=False), dict(skip_special_tokens=1), dict(detokenize=None)])
def test_words_about_text_are_checked(wrong):
    with pytest.raises(ValueError, match="|".join(wrong)):
        SamplingParams(**wrong)


def test_what_could_become_a_stop_string_is_held_back():
    tokens = [TOKENIZER.encode(part)[0] for part in "xstay"]
    _, shown = feed(tokens, stop=["stop", "sta!"])
    assert shown == ["x", "", "", "", "stay"]


@pytest.mark.parametrize("stops", [["b", "abc"], ["abc", "b"]])
def test_of_several_stop_strings_the_one_that_comes_first_counts(stops):
    tokens = [TOKENIZER.encode(part)[0] for part in "xabc"]
    stream, _ = feed(tokens, stop=stops)
    assert stream.text == "xa" and stream.request.num_output_tokens == 3

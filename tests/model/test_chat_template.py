"""A chat template is a model's own program: it is bounded in time and memory, and does not get out of its sandbox."""

from __future__ import annotations

import time

import pytest
from support.models import make_tokenizer

from minieng.hub.resolve import load_tokenizer
from minieng.hub.shelf import ModelError
from minieng.model import chat
from minieng.prompts import tokens_of

TURNS = [{"role": "user", "content": "the cat"}]
PLAIN = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}!{% endif %}"
)


def tokenizer(folder, template: str):
    made = make_tokenizer()
    made.chat_template = template
    made.save_pretrained(folder)
    return chat.bounded(load_tokenizer(folder))


def test_a_well_behaved_template_gives_transformers_text_and_tokens(tmp_path):
    ours = tokenizer(tmp_path, PLAIN)
    theirs = type(ours).from_pretrained(tmp_path)
    assert tokens_of(TURNS, ours, 320, "m")[0] == "<user>the cat<end>!"
    for asked in ({"tokenize": False}, {"tokenize": False, "add_generation_prompt": True}, {"return_dict": False}):
        assert ours.apply_chat_template(TURNS, **asked) == theirs.apply_chat_template(TURNS, **asked)
    assert ours.apply_chat_template([TURNS, TURNS], tokenize=False) == ["<user>the cat<end>"] * 2


ENDLESS = {
    "a loop in loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}"
    "{% endfor %}",
    "a power that C computes": "{{ 9 ** (9 ** 9) }}",
    "too much text": "{{ 'x' * 10 ** 11 }}",
    "a list without end": "{% set n = namespace(x='x') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_template_that_never_ends_is_given_up(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(chat, "SECONDS", 2.0)
    ours = tokenizer(tmp_path, ENDLESS[kind])
    with pytest.raises(ModelError, match="the chat template of .*(does not end within 2 s|fails .MemoryError|OverflowError)"):
        begun = time.perf_counter()
        tokens_of(TURNS, ours, 320, "m")
    assert time.perf_counter() - begun < 60  # a new child takes its time to start, too
    assert tokens_of(TURNS, tokenizer(tmp_path, PLAIN), 320, "m")[0].startswith("<user>")  # and the next one is served


@pytest.mark.parametrize("template", [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ messages.append(1) }}", "{% include '/etc/passwd' %}",
    "{{ messages.__init__.__globals__ }}", "{{ raise_exception('roles must alternate') }}", "{{ 1 / 0 }}", "{% for %}",
])  # fmt: skip
def test_a_template_that_fails_or_reaches_outside_is_a_model_error(tmp_path, template):
    with pytest.raises(ModelError, match="the chat template of .* fails .*write the prompt as text"):
        tokens_of(TURNS, tokenizer(tmp_path, template), 320, "m")

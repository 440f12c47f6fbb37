"""`tiny`, as committed: small, whole, quick to load, a teller of whole stories that stops by itself."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from minieng.hub.resolve import describe, load_config, load_tokenizer, resolve
from tools.tiny.stories import ANIMALS, END, NAMES, TALK, document, story

PROMPTS = [f"Tell me a story about {'an' if a[0] in 'aeiou' else 'a'} {a}." for a in ANIMALS[:10]]
PROMPTS += [f"Write a very short story about {name} the {animal}." for name, animal in zip(NAMES, ANIMALS, strict=False)][:5]
PROMPTS += ["Hello!", "What is the capital of France?", "Tell me a long story about a bear.",
            "Please tell me a story about a lost kite.",
            "Explain music."]  # fmt: skip


@pytest.fixture(scope="module")
def tiny():
    path = resolve("tiny")
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval(), load_tokenizer(path)


def answer(tiny, prompt: str, chat: bool = True) -> list[int]:
    model, tokenizer = tiny
    ids = tokenizer.encode(prompt)
    if chat:
        turns = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    out = model.generate(torch.tensor([ids]), max_new_tokens=500, do_sample=False)
    return out[0, len(ids) :].tolist()


def test_size_and_shape(tiny):
    model, _ = tiny
    assert 400_000 < model.num_parameters() < 600_000
    config = load_config(resolve("tiny"))
    assert config.model_type == "llama" and config.tie_word_embeddings and config.vocab_size == 512
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.num_key_value_heads) == (
        4,
        96,
        4,
        2,
    )
    assert config.head_dim == 32 and config.max_position_embeddings >= 1024
    assert sum(f.stat().st_size for f in resolve("tiny").iterdir() if f.is_file()) < 1_500_000
    assert describe("tiny")["source"] == "bundled"


def test_it_ends_its_stories_by_itself(tiny):
    answers = [answer(tiny, prompt) for prompt in PROMPTS]
    assert len(answers) == 20
    assert sum(ids[-1] == tiny[1].eos_token_id for ids in answers) >= 18
    assert len({tuple(ids) for ids in answers}) >= 10  # other prompts, other stories (not always: it is tiny)
    assert max(map(len, answers)) > 5 * min(map(len, answers))  # lengths differ, which a lesson on batching needs
    story_of_its_own = answer(tiny, "Once upon a time", chat=False)
    assert story_of_its_own[-1] == tiny[1].eos_token_id and len(story_of_its_own) > 80


def test_its_very_short_stories_are_about_what_was_asked(tiny):
    asked = list(zip(ANIMALS, NAMES))[:6]
    for animal, name in asked:  # in longer stories it forgets who is who: the README says so
        told = tiny[1].decode(answer(tiny, f"Write a very short story about {name} the {animal}."))
        assert f"{name} the {animal}" in told
    assert tiny[1].decode(answer(tiny, "Hello!"), skip_special_tokens=True) == TALK[0][1]


def test_special_tokens_and_chat(tiny):
    model, tokenizer = tiny
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert model.generation_config.eos_token_id == model.config.eos_token_id == 2
    text = tokenizer.apply_chat_template(
        [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert text == "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    "text", ["", " two  spaces ", "naïve façade", "日本語 🦊🦉", "a\n\tb\r\n", "def f(x): return {x: 'y'}", "\x00\x7f"]
)
def test_any_text_comes_back(tiny, text):
    tokenizer = tiny[1]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text and all(0 <= i < 512 for i in ids)


@given(st.text())
def test_any_text_at_all_comes_back(text):
    tokenizer = load_tokenizer_once()
    assert tokenizer.decode(tokenizer.encode(text)) == text


def load_tokenizer_once(_kept=[]):  # noqa: B006  (kept on purpose: hypothesis calls this a hundred times)
    if not _kept:
        _kept.append(load_tokenizer(resolve("tiny")))
    return _kept[0]


def test_the_grammar_tells_thousands_of_stories_and_repeats_itself_by_seed():
    rng = random.Random(1)
    assert len({story(rng).text for _ in range(5000)}) > 4900
    assert document(random.Random(3)) == document(random.Random(3))
    for _ in range(300):
        text = document(rng, short=0.3)
        assert text.endswith(END) and "{" not in text and "a owl" not in text and "a otter" not in text

"""Train `tiny` from nothing: tokenizer, 0.5 million parameters and chat template, in three CPU minutes.

    python -m tools.tiny.train --out DIR

Everything follows from one seed, so a second run on the same machine, torch and number of threads writes the same
bytes; elsewhere rounding differs and the stories differ a little. Nothing else in the repository needs this script:
the directory it writes is committed beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path

from .stories import ANIMALS, END, NAMES, START, document, story

SEED = 7
VOCAB, HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, FEED_FORWARD, POSITIONS = 512, 96, 4, 4, 2, 32, 256, 2048
# (steps, rows, tokens in a row, share of very short stories). Very short ones first: most of their words are copies of
# a name or an animal said before, so the heads that copy, which whole stories stand on, form within a minute. Long rows
# last, so that far positions are known too.
PHASES = ((650, 32, 64, 1.0), (400, 12, 192, 0.35), (25, 3, 1024, 0.2))
PEAK_LR, WARM_UP, WEIGHT_DECAY = 4e-3, 30, 0.05
PAD = "<|pad|>"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(seed: int):
    """A byte-level BPE of VOCAB entries learned from the stories: any text can be encoded and comes back as it was."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    rng = random.Random(seed)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=[PAD, START, END],
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    # Who is who must be easy to copy: the cast is read often enough that every name and animal becomes a single token.
    texts = [story(rng).text for _ in range(2000)] + [f" {word}" for word in NAMES + ANIMALS] * 1000
    bpe.train_from_iterator(texts, trainer)
    # No token is added at the front of a text (as with SmolLM2), so a prompt's tokens are the text's tokens.
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        chat_template=TEMPLATE,
        model_max_length=POSITIONS,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer, seed: int):
    """A Llama with fresh weights. A head is 32 wide, not 96 / 4: GPU kernels want powers of two."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    ids = {f"{k}_token_id": getattr(tokenizer, f"{k}_token_id") for k in ("bos", "eos", "pad")}
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=HEAD_DIM,
        intermediate_size=FEED_FORWARD,
        tie_word_embeddings=True,
        max_position_embeddings=POSITIONS,
        initializer_range=0.1,
        rms_norm_eps=1e-5,
        **ids,
    )
    model = LlamaForCausalLM(config)
    for name, weight in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            torch.nn.init.zeros_(weight)  # a block says nothing until it has learned something: copying then forms soon
    return model


def rows(tokenizer, rng: random.Random, count: int, length: int, short: float):
    """[count, length + 1] token ids: each row begins with a document and goes on with others until it is full."""
    import torch

    out = []
    for _ in range(count):
        row: list[int] = []
        while len(row) <= length:
            row += tokenizer.backend_tokenizer.encode(document(rng, short)).ids
        out.append(row[: length + 1])
    return torch.tensor(out)


def train(model, tokenizer, seed: int, say=print) -> float:
    """AdamW with warm-up and a linear way down to zero; returns the last 50 steps' mean loss (nats/token)."""
    import torch
    from torch.nn.functional import cross_entropy

    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() != 2]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_LR, betas=(0.9, 0.98))
    total, rng, losses, begun = sum(p[0] for p in PHASES), random.Random(seed + 1), [], time.process_time()
    shapes = [shape for steps, *shape in PHASES for _ in range(steps)]
    for step, shape in enumerate(shapes):
        for group in optimizer.param_groups:
            group["lr"] = PEAK_LR * min((step + 1) / WARM_UP, (total - step) / (total - WARM_UP))
        batch = rows(tokenizer, rng, *shape)
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        loss = cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 100 == 0 or step == total - 1:
            say(f"step {step:4d}/{total}  loss {losses[-1]:.3f}  {time.process_time() - begun:5.0f} CPU s")
    return math.fsum(losses[-50:]) / len(losses[-50:])


def save(model, tokenizer, out: Path) -> None:
    """Write a directory that `from_pretrained` loads: weights in bf16, which fp32 and (nearly) fp16 hold exactly."""
    import torch

    out.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out, save_jinja_files=False)  # the chat template goes into tokenizer_config.json
    path = out / "tokenizer_config.json"  # the class name that every transformers since 4.0 knows
    settings = json.loads(path.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (part of what makes a run repeatable)")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(args.threads)
    tokenizer = make_tokenizer(args.seed)
    model = make_model(tokenizer, args.seed)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters:,} parameters, {sum(s * n * t for s, n, t, _ in PHASES):,} tokens to read")
    loss = train(model, tokenizer, args.seed)
    save(model, tokenizer, args.out)
    print(f"final loss {loss:.4f} nats a token, {time.process_time():.0f} CPU seconds, written to {args.out}")


if __name__ == "__main__":
    main()

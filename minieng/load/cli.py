"""``minieng bench --base-url`` and ``minieng replay-load``: a server measured from outside, and what was seen
played again on the simulator.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..config import EngineConfig
from ..observe.metrics import parse_goodput, table
from ..save import save_json, writable
from ..workload import Workload
from .client import LATE, VOCABULARY, Server, lateness, metrics_of, offer, warm_up
from .http import PATIENCE
from .recording import Recording

OF_AN_ENGINE = ("schedulers", "virtual")  # flags of bench that say how an engine of our own runs
CACHE_LABELS = {"num_gpu_blocks": "num_blocks", "block_size": "block_size"}
UNKNOWN = (  # what a client cannot see; in a file of its figures they would be zeros
    "refused", "steps", "padding_waste", "done_rows", "padding_tokens", "finished_row_tokens", "idle_slots",
    "busy_slots", "recomputed_tokens", "cache_hit_tokens", "cache_hit_tokens_again", "preemptions", "kv_used",
    "kv_reserved", "kv_wasted", "bubble",
)  # fmt: skip


def client_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of ``bench`` for a server somewhere else."""
    group = parser.add_argument_group("a server instead of an engine (its key: MINIENG_API_KEY)")
    group.add_argument(
        "--base-url", metavar="URL", help="measure this OpenAI-compatible server, from outside"
    )
    group.add_argument(
        "--record", type=writable, metavar="FILE", help="keep the times of each request's tokens"
    )
    text = "prompts are random token ids below this (default: %(default)s, which every model has)"
    group.add_argument("--vocab-size", type=int, default=VOCABULARY, metavar="N", help=text)
    text = "give a request up after so long without a byte (default: %(default)s)"
    group.add_argument("--patience", type=float, default=PATIENCE, metavar="SECONDS", help=text)


def replay_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("recording", metavar="FILE", help="what minieng bench --base-url --record wrote")
    add("--model", help="name or directory of the model that was served (default: as the server called it)")
    add("--fit-to", metavar="FILE", help="take the step times of this recording (default: of the same one)")
    add("--json", type=writable, metavar="OUT", help="save the comparison")


def bench_server(args: argparse.Namespace, workload: Workload) -> int:
    """Offer a workload to a server; the table goes to stdout. 1 if no request was answered to its end."""
    from tqdm.auto import tqdm

    knobs = [
        field.name
        for field in dataclasses.fields(EngineConfig)
        if field.name != "seed" and hasattr(args, field.name)
    ]
    given = [name for name in OF_AN_ENGINE if f"--{name}" in {word.split("=")[0] for word in args.argv}]
    if unfit := [*given, *knobs]:
        raise ValueError(
            f"--{unfit[0].replace('_', '-')} is an engine's, with --base-url it is the server's: leave it out"
        )
    if not args.patience > 0 or args.vocab_size < 2:
        raise ValueError(
            f"--patience {args.patience:g} must be above 0, --vocab-size {args.vocab_size} at least 2"
        )
    goals, seed = parse_goodput(args.goodput), getattr(args, "seed", 0)
    server = Server.at(args.base_url, args.model, os.environ.get("MINIENG_API_KEY"))
    print(f"{workload}\n{server.model} at {server.address}", file=sys.stderr)
    warm_up(server, args.vocab_size)
    with tqdm(total=len(workload), unit="request") as bar:
        answers = offer(
            server, workload, vocab_size=args.vocab_size, seed=seed, patience=args.patience, told=bar.update
        )
    if problems := [answer.problem for answer in answers if answer.problem]:
        print(f"{len(problems)} failed, first: {problems[0]}", file=sys.stderr)
    if (late := lateness(answers)) > LATE:
        print(
            f"warning: a request was sent {1e3 * late:.0f} ms after it was due: this client is too slow for "
            "the rate, or the machine too busy", file=sys.stderr,
        )  # fmt: skip
    metrics = metrics_of(answers, goals, server.model)
    print(table([metrics]))
    about = {
        "base_url": str(server.address), "model": server.model, "cache": server.cache, "seed": seed,
        "vocab_size": args.vocab_size, "command": " ".join(["minieng", *args.argv]),
    }  # fmt: skip
    if args.record:
        Recording(workload, answers, about).save(args.record)
    if args.json:
        told = {name: value for name, value in metrics.as_dict().items() if name not in UNKNOWN}
        more = {
            "workload": str(workload),
            "num_prompts": len(workload),
            "goodput": args.goodput,
            "latest_s": late,
        }
        save_json(args.json, about | more | {"results": [told]})
    return 0 if metrics.completed else 1


def replay_load(args: argparse.Namespace) -> int:
    """Serve a recording's arrivals on the simulator; the errors go to stdout.
    Raises ValueError for bad input.
    """
    from .compare import fit_to, replay

    recording = Recording.load(args.recording)
    config = config_of(args, recording)
    model = spec_of(args.model or str(recording.about.get("model", "")))
    fitted = None if args.fit_to is None else fit_to(Recording.load(args.fit_to), config, model)
    report = replay(recording, config, model, fitted)
    if report.left_out:
        print(f"{report.left_out} requests without a whole answer are left out", file=sys.stderr)
    print(report)
    if args.json:
        about = {"recording": str(args.recording), "fitted_to": args.fit_to or str(args.recording)}
        save_json(args.json, about | {"engine": config.as_plain()} | report.as_dict())
    return 0


def config_of(args: argparse.Namespace, recording: Recording) -> EngineConfig:
    """The flags; what they do not say of the cache, as the server told it when it was recorded."""
    names = {field.name for field in dataclasses.fields(EngineConfig)}
    given = {name: value for name, value in vars(args).items() if name in names}
    cache = recording.about.get("cache") or {}
    told = {
        knob: int(cache[label]) for label, knob in CACHE_LABELS.items() if str(cache.get(label, "")).isdigit()
    }
    return EngineConfig(**told | given)


def spec_of(name: str) -> Any:
    """The shape of a model: one of the simulator's, or one whose config.json is here. Raises ValueError for
    any other.
    """
    from ..hub.resolve import resolve
    from ..sim.hardware import MODELS, ModelSpec

    if name in MODELS:
        return MODELS[name]
    try:
        found = json.loads((Path(resolve(name)) / "config.json").read_text(encoding="utf-8"))
        return ModelSpec.of_config(SimpleNamespace(**{"tie_word_embeddings": True} | found), name)
    except Exception as problem:  # whatever keeps it from being found or read
        known = ", ".join(MODELS)
        raise ValueError(
            f"--model {name}: {problem}: name a directory that is here, or one of {known}"
        ) from None

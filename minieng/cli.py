"""The command line: ``minieng generate | serve | bench | replay-load | simulate | show | doctor | fetch``.

Text and tables go to stdout, everything else to stderr. The flags are made from the dataclasses that they
fill, so a new knob in ``config.py`` is a new flag here. Nothing heavy is imported before the arguments are
known to be right.
"""

from __future__ import annotations

import argparse
import atexit
import dataclasses
import gc
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import __version__, commands
from .config import EngineConfig
from .kernels.backend import BACKENDS
from .parallel.router import ROUTERS
from .request import SamplingParams
from .save import writable
from .scheduler import ADMISSIONS, ORDERS, SCHEDULERS, VICTIMS
from .workload import PRESETS

OK, FAILED, BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141
MODEL = os.environ.get("MINIENG_MODEL", "smollm2-135m")
EXITS = (
    "exit codes: 0 done, 1 a run failed, 2 bad usage or bad input, 130 Ctrl-C, 141 nobody reads the output"
)
NO_FLAG = ("predictor",)  # a Python function
LISTS: dict[str, Iterable[str]] = {  # knob → the list that holds its names
    "scheduler": SCHEDULERS,
    "order": ORDERS,
    "admission": ADMISSIONS,
    "victim": VICTIMS,
    "attention": BACKENDS,
    "router": ROUTERS,
}
EXAMPLES = """\
  minieng generate "The capital of France is" --max-tokens 20
  minieng generate --chat "Tell me a story" "And a joke" --temperature 0.8 --n 2
  minieng generate - --scheduler chunked --json < prompts.txt
  minieng serve --model smollm2-135m --scheduler chunked --port 8000
  minieng bench --workload mixed_length --schedulers static,chunked
  minieng bench --workload bursty --num-prompts 64 --rate 8 --goodput ttft:500 tpot:80
  minieng bench --workload trace.csv --length-scale 0.1 --virtual --json result.json
  minieng bench --base-url http://127.0.0.1:8000 --workload ladder --rate 4 --record seen.json
  minieng replay-load seen.json --scheduler chunked --max-num-seqs 16
  minieng simulate --model llama-3-8b --gpu A100-80G --replicas 4 --workload chat --goodput ttft:500
  minieng simulate --workload ladder --num-prompts 50 --perfetto trace.json
  minieng simulate --paper vllm
  minieng show run.trace.jsonl --open
  minieng show run.trace.jsonl --perfetto run.json
  minieng doctor
  minieng fetch smollm2-135m
"""
SAMPLING_HELP = {
    "temperature": "0 is greedy; higher is more random",
    "top_p": "sample from the most likely tokens that have this probability together",
    "top_k": "sample from this many most likely tokens; 0: all",
    "min_p": "sample from tokens at least this share as likely as the likeliest; 0: all",
    "max_tokens": "most output tokens",
    "min_tokens": "no end of text before this many output tokens",
    "stop": "end the text before this string; may be given several times",
    "stop_token_ids": "end the text after this token id; may be given several times",
    "include_stop_str_in_output": "keep the stop string that ended the text",
    "ignore_eos": "go on after the model's end-of-text token",
    "skip_special_tokens": "leave special tokens out of the text",
    "detokenize": "make text of the tokens",
    "n": "texts for each prompt",
    "seed": "seed of each prompt's sampling (--seed is the engine's)",
    "repetition_penalty": "above 1: tokens of prompt and output become less likely",
    "presence_penalty": "taken off the logits of tokens that the output holds",
    "frequency_penalty": "taken off for each time that the output holds a token",
    "logit_bias": "add X to the logit of token ID; may be given several times",
    "allowed_token_ids": "choose among these tokens only; may be given several times",
    "bad_words": "never write this word; may be given several times",
    "logprobs": "with --json: log-probabilities of this many most likely tokens",
    "prompt_logprobs": "with --json: the same for the tokens of the prompt",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. Errors are one line on stderr;
    ``--debug`` shows where they come from.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    atexit.register(gc.freeze)  # else Python's last collection walks all of torch: 0.4 s of a short command
    try:
        code = run(argv)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Or Python complains when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        return explain_error(error, "--debug" in argv)


def run(argv: list[str]) -> int:
    try:
        args = make_parser(argv).parse_args(with_dashes(argv), argparse.Namespace(argv=argv))
    except SystemExit as usage:  # argparse has said why
        return int(usage.code or OK)
    if sys.stdout is None:  # closed, as >&- does it
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (until the end of the process)
    if hasattr(sys.stdout, "reconfigure"):
        # A terminal that cannot show a character is no reason to stop.
        sys.stdout.reconfigure(errors="replace")
    return args.run(args)


def explain_error(error: Exception, debug: bool) -> int:
    """One line. A ValueError is about what was asked for, anything else about the run."""
    if debug:
        traceback.print_exception(error)
    expected = isinstance(error, (ValueError, RuntimeError, OSError, MemoryError))
    text = str(error) if expected and str(error) else f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError):
        text = f"out of memory: ask for less ({text.strip(' :')})"
    hint = "" if expected or debug else " (--debug shows where)"
    print(f"minieng: error: {' '.join(text.split())}{hint}", file=sys.stderr)
    return BAD_INPUT if isinstance(error, ValueError) else FAILED


def with_dashes(argv: Sequence[str]) -> list[str]:
    """--max_tokens=8 → --max-tokens=8; what follows a lone -- is left alone."""
    end = argv.index("--") if "--" in argv else len(argv)
    split = (arg.partition("=") for arg in argv[:end])
    flags = (
        (name.replace("_", "-") if name.startswith("--") else name) + rest + value
        for name, rest, value in split
    )
    return [*flags, *argv[end:]]


# -- the parser ---------------------------------------------------------------------------------------------


def make_parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """All commands, but only with the flags of the one that is asked for:
    the simulator's need more than a blink.
    """
    look: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    about = f"examples:\n{EXAMPLES}\n{EXITS}"
    parser = argparse.ArgumentParser(
        "minieng", description="A small LLM serving engine.", epilog=about, **look
    )
    parser.add_argument("--version", action="version", version=f"minieng {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (operand, text, add_flags) in COMMANDS.items():
        own = "".join(line for line in EXAMPLES.splitlines(keepends=True) if f"minieng {name}" in line)
        sub = subparsers.add_parser(
            name, help=text, description=text, epilog=f"examples:\n{own}\n{EXITS}", **look
        )
        if not argv or name in argv:
            add_flags(sub)
        sub.add_argument("--debug", action="store_true", help="show a traceback with an error")
        sub.usage = f"minieng {name} [options]{operand}"
        sub.set_defaults(run=getattr(commands, name.replace("-", "_")))
    return parser


def generate_flags(parser: argparse.ArgumentParser) -> None:
    text = "text to go on from; - reads one prompt a line from stdin"
    parser.add_argument("prompts", nargs="+", metavar="PROMPT", help=text)
    parser.add_argument(
        "--chat", action="store_true", help="put each prompt to the model as a user's message"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a prompt, when all are done")
    sampling = parser.add_argument_group("sampling")
    for field in dataclasses.fields(SamplingParams):
        name = "seed_per_request" if field.name == "seed" else field.name
        add_flag(sampling, name, field, SAMPLING_HELP[field.name], default=field.default)
    engine_flags(parser)


def serve_flags(parser: argparse.ArgumentParser) -> None:
    from .server.settings import ENGINE_DEFAULTS, ServerConfig

    server = parser.add_argument_group("server")
    for field in dataclasses.fields(ServerConfig):
        add_flag(server, field.name, field, field.metadata["help"], default=field.default)
    engine_flags(parser, defaults=ENGINE_DEFAULTS)


def bench_flags(parser: argparse.ArgumentParser) -> None:
    from .load.cli import client_flags

    add = parser.add_argument
    columns = "arrival_s,prompt_tokens,output_tokens"
    text = f"{', '.join(PRESETS)}, azure_conv, or a CSV of {columns} (default: %(default)s)"
    add("--workload", default="mixed_length", metavar="NAME|FILE", help=text)
    add(
        "--num-prompts", type=int, metavar="N",
        help="requests (default: 32 of a named workload, all of a file)",
    )  # fmt: skip
    add("--rate", type=float, metavar="R", help="requests a second; inf: all at once (default: its own)")
    add(
        "--burstiness", type=float, metavar="B",
        help="1 is Poisson, below 1 bursty, inf constant (default: its own)",
    )  # fmt: skip
    add(
        "--length-scale", type=float, default=1.0, metavar="F",
        help="all lengths times this (default: %(default)s)",
    )  # fmt: skip
    add(
        "--schedulers", default=",".join(SCHEDULERS), metavar="A,B,…",
        help="what to compare (default: %(default)s)",
    )  # fmt: skip
    text = "count the requests that meet all of these: ttft, tpot, e2el"
    add("--goodput", nargs="+", default=[], metavar="NAME:MS", help=text)
    text = "waiting for arrivals costs no time; steps take what they are measured to take"
    add("--virtual", action="store_true", help=text)
    add("--json", type=writable, metavar="FILE", help="save everything, under the names of vllm bench serve")
    client_flags(parser)
    engine_flags(parser, without="scheduler")


def replay_load_flags(parser: argparse.ArgumentParser) -> None:
    from .load.cli import replay_flags

    replay_flags(parser)
    engine_flags(parser, without="model")


def doctor_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="the model to try attention for (default: the first that is here)")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def fetch_flags(parser: argparse.ArgumentParser) -> None:
    text = "smollm2-135m, tiny, a Hugging Face id, a directory or a GGUF file"
    parser.add_argument("model", metavar="MODEL", help=text)


def show_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("trace", metavar="FILE", help="a trace that --trace or Trace.save wrote")
    add("--out", type=writable, metavar="PAGE", help="where the page goes (default: beside FILE, as .html)")
    add("--perfetto", type=writable, metavar="JSON", help="write it for ui.perfetto.dev instead of as a page")
    add("--columns", type=int, default=16, metavar="N", help="blocks in a row (default: %(default)s)")
    text = "show so many steps at most, the last ones (default: %(default)s)"
    add("--last", type=int, default=500, metavar="N", help=text)
    add("--open", action="store_true", help="open the page in the browser")


def simulator_flags(parser: argparse.ArgumentParser) -> None:
    from .sim.cli import SERVER, simulate_flags

    simulate_flags(parser)
    engine_flags(parser, without="model", defaults=SERVER | {"max_model_len": "the model's own"})


def engine_flags(
    parser: argparse.ArgumentParser, without: str = "", defaults: Mapping[str, Any] | None = None
) -> None:
    group = parser.add_argument_group("model and engine")
    about = "smollm2-135m, tiny, a Hugging Face id or a directory (default: %(default)s, or MINIENG_MODEL)"
    if without != "model":
        group.add_argument("--model", default=MODEL, help=about)
    for field in dataclasses.fields(EngineConfig):
        if field.name not in (*NO_FLAG, without):
            default = (defaults or {}).get(field.name, field.default)
            add_flag(group, field.name, field, field.metadata["help"], choices_of(field), default)


def choices_of(field: dataclasses.Field) -> tuple[str, ...]:
    """The words that a knob takes: those of its list, and a default word that stands in no list ("auto")."""
    words: tuple[str, ...] = tuple(LISTS.get(field.name, field.metadata["choices"]))
    default: Any = field.default
    return (default, *words) if words and default not in (*words, None) else words


def add_flag(
    group: Any,
    name: str,
    field: dataclasses.Field,
    text: str,
    choices: Sequence[str] = (),
    default: Any = None,
) -> None:
    """A flag for a field of a dataclass. It has no default of its own:
    what is not given is left to the dataclass.
    """
    kind = str(field.type)
    shown = "none" if default in (None, ()) else default
    text = f"{text} (default: {shown})".replace("%", "%%")
    keywords: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS, "help": text}
    if kind == "bool":
        keywords["action"] = argparse.BooleanOptionalAction
    else:
        keywords["type"] = (
            pair if "Mapping" in kind else int if "int" in kind else float if "float" in kind else str
        )
        keywords["metavar"] = {pair: "ID:X", int: "N", float: "X", str: "TEXT"}[keywords["type"]]
        keywords |= {"action": "append"} if "Sequence" in kind else {}
        keywords |= {"choices": choices, "metavar": None} if choices else {}
    group.add_argument("--" + name.replace("_", "-"), **keywords)


def pair(text: str) -> tuple[int, float]:
    """ "17:-4.5" as numbers. argparse makes its own words of the ValueError."""
    token, number = text.split(":")
    return int(token), float(number)


COMMANDS = {
    "generate": (" PROMPT [PROMPT ...]", "Text from prompts, as it comes.", generate_flags),
    "serve": ("", "A model behind a port, for clients of OpenAI's HTTP interface.", serve_flags),
    "bench": ("", "One workload, drawn with --seed, under several schedulers, in one table.", bench_flags),
    "replay-load": (
        " FILE",
        "What was recorded of a server, again on the simulator, and how far off it is.",
        replay_load_flags,
    ),
    "simulate": (
        "",
        "A workload on GPUs that are not here, or a published experiment again.",
        simulator_flags,
    ),
    "show": (" FILE", "A page that steps through a recorded trace; print where it is.", show_flags),
    "doctor": ("", "What is here, what would be used, and why.", doctor_flags),
    "fetch": (" MODEL", "Make a model ready; print its directory.", fetch_flags),
}

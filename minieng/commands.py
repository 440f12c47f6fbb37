"""What the commands of ``minieng`` do, once their arguments are known to be well-formed.

Each takes argparse's namespace, raises ValueError for bad input and anything else for a failed run, and
returns an exit code. Text and tables go to stdout, all else to stderr.
"""

from __future__ import annotations

import argparse
import codecs
import dataclasses
import io
import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .config import EngineConfig
from .request import SamplingParams
from .save import save_json
from .scheduler import SCHEDULERS

if TYPE_CHECKING:
    from .llm import LLM
    from .observe.metrics import Metrics
    from .workload import Workload


def given(args: argparse.Namespace, kind: type, **renamed: str) -> dict[str, Any]:
    """The fields of a dataclass for which there was a flag. ``renamed``: field → name of its flag."""
    flags = {field.name: renamed.get(field.name, field.name) for field in dataclasses.fields(kind)}
    return {name: getattr(args, flag) for name, flag in flags.items() if hasattr(args, flag)}


# -- generate -----------------------------------------------------------------------------------------------


def generate(args: argparse.Namespace) -> int:
    params = SamplingParams(**given(args, SamplingParams, seed="seed_per_request"))
    EngineConfig(**given(args, EngineConfig))  # a wrong knob is found before torch is imported
    prompts = list(read_prompts(args.prompts))
    from .llm import LLM

    with LLM(args.model, **given(args, EngineConfig)) as llm:
        asked = [[{"role": "user", "content": prompt}] for prompt in prompts] if args.chat else prompts
        if args.json:
            for output in llm.generate(asked, params):
                print(json.dumps(dataclasses.asdict(output)))
        else:
            print_streams(llm, prompts, asked, params)
    return 0


def read_prompts(words: Sequence[str]) -> Iterator[str]:
    """The prompts; "-" stands for the lines of stdin that are not empty. Raises ValueError if there are none,
    or no text.
    """
    for word in words:
        if word != "-":
            yield word
            continue
        lines = [line.rstrip("\n") for line in io.StringIO(text_of_stdin(), newline=None) if line.strip()]
        if not lines:
            raise ValueError("no prompt on stdin: write one a line")
        yield from lines


def text_of_stdin() -> str:
    """All of it. What a byte order mark says goes before what the locale says:
    editors and PowerShell write one.
    """
    if sys.stdin is None:  # closed, as <&- does it
        return ""
    if not hasattr(sys.stdin, "buffer"):  # a StringIO
        return sys.stdin.read()
    data, encoding = sys.stdin.buffer.read(), sys.stdin.encoding
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif data.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"stdin is no text in {encoding} (at byte {error.start}): save the prompts as UTF-8"
        ) from None


def print_streams(llm: LLM, prompts: list[str], asked: list, params: SamplingParams) -> None:
    """Texts in the order of the prompts. All run at once;
    who is not the first in the row waits in a buffer.
    """
    row = [(str(i), index) for i in range(len(prompts)) for index in range(params.n)]
    texts, ended, labelled = dict.fromkeys(row, ""), set(), len(row) == 1
    with closing(llm.stream(asked, params, request_ids=[str(i) for i in range(len(prompts))])) as events:
        for event in events:
            key = (event.request_id, event.index)
            texts[key] += event.text
            ended |= {key} if event.finish_reason else set()
            while row:
                if not labelled:
                    print(label(prompts, *row[0], params.n))
                print(texts[row[0]], end="", flush=True)
                texts[row[0]], labelled = "", True
                if row[0] not in ended:
                    break
                del row[0]
                print("\n" if row else "")
                labelled = False


def label(prompts: list[str], request_id: str, index: int, n: int) -> str:
    text = " ".join(prompts[int(request_id)].split())
    text = text if len(text) <= 60 else text[:59] + "…"
    sample = f", text {index + 1} of {n}" if n > 1 else ""
    return f"=== {int(request_id) + 1} of {len(prompts)}{sample}: {text}"


# -- bench --------------------------------------------------------------------------------------------------


def bench(args: argparse.Namespace) -> int:
    from .observe.metrics import parse_goodput, table

    EngineConfig(**given(args, EngineConfig))
    schedulers, goals = args.schedulers.split(","), parse_goodput(args.goodput)
    if wrong := [name for name in schedulers if name not in SCHEDULERS]:
        raise ValueError(f"no scheduler {wrong[0]!r}: choose among {','.join(SCHEDULERS)}")
    workload = read_workload(args)
    if args.base_url is not None:
        from .load.cli import bench_server

        return bench_server(args, workload)
    if args.record is not None:
        raise ValueError("--record keeps what a server answers: name one with --base-url")
    print(workload, file=sys.stderr)
    runs: list[Metrics] = []
    try:
        runs.extend(measure(args, workload, schedulers, goals))
    finally:  # what was measured before a failure or a Ctrl-C is shown
        if runs:
            print(table(runs))
    if args.json:
        save_json(args.json, record(args, workload, runs))
    return 0 if all(run.completed for run in runs) else 1


def read_workload(args: argparse.Namespace) -> Workload:
    from .workload import FILES, Workload

    size = args.num_prompts
    if size is None and not args.workload.endswith(FILES):
        size = 32
    workload = Workload.named(args.workload, size, args.rate, args.burstiness, getattr(args, "seed", 0))
    return workload if args.length_scale == 1 else workload.shortened(args.length_scale)


def measure(
    args: argparse.Namespace, workload: Workload, schedulers: list[str], goals: dict
) -> Iterator[Metrics]:
    """The workload under each scheduler, after two tokens to warm up. Refusals are noted on stderr."""
    from .llm import LLM

    seed, weights = getattr(args, "seed", 0), None
    for scheduler in schedulers:
        with LLM(args.model, scheduler=scheduler, **given(args, EngineConfig)) as llm:
            weights = weights or llm.runner.model  # held, so that the next engine finds them loaded
            llm.generate([[0]], SamplingParams(max_tokens=2, ignore_eos=True))
            report = llm.serve_workload(
                workload, virtual=args.virtual, progress=True, goodput=goals, seed=seed
            )
        if report.refused:
            print(
                f"{scheduler}: {len(report.refused)} refused, first: {report.refused[0][1]}", file=sys.stderr
            )
        yield report.metrics


def record(args: argparse.Namespace, workload: Workload, runs: list[Metrics]) -> dict[str, Any]:
    """For a file: what ran, where, with which versions, and all that was measured."""
    from .doctor import diagnose

    machine = diagnose(args.model)
    about = ("minieng", "python", "system", "packages", "cpu", "device", "attention")
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": " ".join(["minieng", *args.argv]),
        "model_id": args.model,
        "num_prompts": len(workload),
        "request_rate": workload.rate if math.isfinite(workload.rate) else "inf",
        "burstiness": "inf" if args.burstiness == math.inf else args.burstiness,  # JSON has no infinity
        "workload": str(workload),
        "virtual": args.virtual,
        "engine": given(args, EngineConfig),
        "goodput": args.goodput,
        "machine": {name: machine[name] for name in about},
        "results": [run.as_dict() for run in runs],
    }


# -- serve --------------------------------------------------------------------------------------------------


def serve(args: argparse.Namespace) -> int:
    """A model behind a port, until SIGTERM or Ctrl-C."""
    from .server.settings import ENGINE_DEFAULTS, ServerConfig, api_key_of, check_scheduler

    config = ServerConfig(**given(args, ServerConfig))
    config = dataclasses.replace(config, api_key=api_key_of(config))
    knobs = ENGINE_DEFAULTS | given(args, EngineConfig)
    check_scheduler(EngineConfig(**knobs))
    try:
        from .server.run import bind
        from .server.run import serve as run
        from .server.settings import start_log
    except ModuleNotFoundError as missing:
        raise RuntimeError(f"{missing.name} is not installed: pip install 'minieng[serve]'") from None
    sock = bind(config)
    start_log()
    if config.apart:
        from .server.replica import Spec
        from .server.run import serve_replicas

        return serve_replicas(Spec(args.model, knobs, config.served_model_name or args.model), config, sock)
    from .llm import LLM

    with LLM(args.model, **knobs) as llm:
        return run(llm, config, sock)


# -- replay-load, simulate, show, doctor, fetch ------------------------------------------------------------


def replay_load(args: argparse.Namespace) -> int:
    """What a client saw of a server, again on the simulator."""
    from .load.cli import replay_load as run

    return run(args)


def simulate(args: argparse.Namespace) -> int:
    """A workload, or a paper's experiment, in virtual time."""
    from .sim.cli import simulate as run

    return run(args)


def show(args: argparse.Namespace) -> int:
    """A recorded trace as a page, or for Perfetto; stdout gets its path."""
    from pathlib import Path

    from .observe import Trace

    source = Path(args.trace)
    trace = Trace.load(source)
    if args.perfetto:
        print(trace.to_perfetto(args.perfetto))
        return 0
    page = args.out or source.with_suffix(".html")
    print(trace.to_html(page, title=f"Trace {source.name}", columns=args.columns, last=args.last))
    if args.open:
        import webbrowser

        webbrowser.open(Path(page).absolute().as_uri())
    return 0


def doctor(args: argparse.Namespace) -> int:
    from .doctor import diagnose, report

    found = diagnose(args.model)
    print(json.dumps(found, indent=2) if args.json else report(found))
    return 1 if found["problems"] else 0


def fetch(args: argparse.Namespace) -> int:
    """The loader says on stderr what it does; stdout gets the directory."""
    from .hub.resolve import resolve

    print(resolve(args.model))
    return 0

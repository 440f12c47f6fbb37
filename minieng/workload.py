"""Who asks for how much, and when: generated from published statistics, or read from a trace.

    Workload.preset("sharegpt", n=100, rate=2.0)          lengths and arrivals drawn from a seed
    Workload.synthetic(100, uniform(16, 256), exponential(128, most=512), rate=4.0, burstiness=0.5)
    Workload.from_csv("my_trace.csv").head(500).scaled(rate=8.0)

Lengths are in tokens, times in seconds after the start, rates in requests a second. All random draws come
from Python's own generator, so that a seed gives the same requests wherever Python runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

from .distributions import Lengths, arrivals, exponential, fixed, lognormal, uniform
from .job import MOST_SECONDS, MOST_TOKENS, Job, check_job
from .prefixes import conversations, part_tokens, system_prompts
from .timed_trace import CHUNK, MILLISECOND, read_timed_trace, write_timed_trace
from .workload_file import read_jobs, trace_file, write_jobs

__all__ = ["PRESETS", "Job", "Workload", "exponential", "fixed", "lognormal", "uniform"]
AZURE_FILES = ("azure_conv_2023.csv", "AzureLLMInferenceTrace_conv.csv")
AZURE_HEAD, AZURE_ROWS = Path(__file__).parent / "data" / "azure_conv_2023_head.csv", 2_000  # in the package
AZURE_SOURCE = (
    f"The first {AZURE_ROWS:,} requests are in the package. For more download {AZURE_FILES[1]} from "
    "https://github.com/Azure/AzurePublicDataset (data, CC-BY-4.0) and set MINIENG_TRACES to its folder; "
    "the preset 'chat' has its statistics without the file"
)
FILES = (".csv", ".jsonl")  # what is read as a workload; a timed trace is JSON, a line a request
DEFAULT_SIZE, MOST_JOBS = 100, 1_000_000


# -- workloads ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Workload:
    """A named list of jobs, in order of arrival."""

    name: str
    jobs: tuple[Job, ...]

    def __post_init__(self) -> None:
        jobs = sorted((Job(*job) for job in self.jobs), key=lambda job: job.arrival_s)
        for number, job in enumerate(jobs):
            check_job(job, f"job {number} of {self.name!r}")
        object.__setattr__(self, "jobs", tuple(jobs))

    @classmethod
    def synthetic(
        cls, n: int, prompt: Lengths, output: Lengths, *, rate: float = math.inf, burstiness: float = 1.0,
        seed: int = 0, name: str = "synthetic",
    ) -> Workload:  # fmt: skip
        """``n`` jobs with lengths and arrivals from one seed; lengths do not change with the rate."""
        if n < 1:
            raise ValueError(f"n={n}: a workload has at least one job")
        if n > MOST_JOBS:
            raise ValueError(f"n={n:,}: at most {MOST_JOBS:,} jobs are made at once")
        rng, clock = Random(f"lengths {seed}"), Random(f"arrivals {seed}")
        lengths = prompt(rng, n), output(rng, n)
        return cls(name, tuple(map(Job, arrivals(clock, n, rate, burstiness), *lengths)))

    @classmethod
    def preset(
        cls,
        name: str,
        n: int = DEFAULT_SIZE,
        rate: float | None = None,
        burstiness: float | None = None,
        seed: int = 0,
    ) -> Workload:
        """One of PRESETS, at its own rate and burstiness unless others are given; or "azure_conv",
        the trace itself.
        """
        if name == "azure_conv":
            file = AZURE_HEAD if n <= AZURE_ROWS else trace_file(AZURE_FILES, "azure_conv", AZURE_SOURCE)
            return cls.named(str(file), n, rate, burstiness)
        if name not in PRESETS:
            raise ValueError(
                f"no workload {name!r}: choose {', '.join(PRESETS)}, azure_conv, or the path of a CSV or "
                "JSONL file"
            )
        preset = PRESETS[name]
        return cls.synthetic(
            n, preset.prompt, preset.output, rate=preset.rate if rate is None else rate,
            burstiness=preset.burstiness if burstiness is None else burstiness, seed=seed, name=name,
        )  # fmt: skip

    @classmethod
    def named(
        cls,
        name: str,
        n: int | None = None,
        rate: float | None = None,
        burstiness: float | None = None,
        seed: int = 0,
    ) -> Workload:
        """A preset or the path of a file, as a command line gives it. ``n=None``: 100 jobs,
        or the whole file.
        """
        if not name.endswith(FILES):
            return cls.preset(name, DEFAULT_SIZE if n is None else n, rate, burstiness, seed)
        if burstiness is not None:
            raise ValueError(
                f"burstiness={burstiness}: {name} has its own arrivals; only their rate can be changed"
            )
        workload = cls.from_csv(name) if name.endswith(".csv") else cls.from_timed_trace(name)
        workload = workload if n is None else workload.head(n)
        return workload if rate is None else workload.scaled(rate)

    @classmethod
    def from_csv(cls, path: str | Path) -> Workload:
        """Read ``arrival_s,prompt_tokens,output_tokens[,user,priority,deadline,parts,answer]``;
        lines after a # are comments. Parts are written as "system:300 turn1:45".

        The Azure traces as they are published (TIMESTAMP,ContextTokens,GeneratedTokens) are read as well.
        Raises ValueError naming the line of each bad row (the first five).
        """
        return cls(Path(path).stem, tuple(read_jobs(Path(path))))

    def to_csv(self, path: str | Path) -> None:
        """Write the file that ``from_csv`` reads; columns that nobody uses are left out."""
        write_jobs(Path(path), self.jobs)

    @classmethod
    def from_timed_trace(cls, path: str | Path, chunk: int = CHUNK, seconds: float = MILLISECOND) -> Workload:
        """Read ``timestamp, input_length, output_length, hash_ids``, one JSON object a line.

        chunk    tokens of a hash id
        seconds  of one unit of a timestamp
        Raises ValueError naming the line of each bad row (the first five).
        """
        return cls(Path(path).stem, tuple(read_timed_trace(Path(path), chunk, seconds)))

    def to_timed_trace(self, path: str | Path, chunk: int = CHUNK, seconds: float = MILLISECOND) -> None:
        """Write the file that ``from_timed_trace`` reads, and ``vllm bench serve`` (timed_trace).

        It holds lengths, arrivals and what prompts share, nothing else.
        """
        write_timed_trace(Path(path), self.jobs, chunk, seconds)

    @classmethod
    def shared_prefix(
        cls, groups: int, each: int, *, shared: int, own: Lengths | int, output: Lengths | int,
        rate: float = math.inf, seed: int = 0,
    ) -> Workload:  # fmt: skip
        """``groups`` system prompts of ``shared`` tokens with ``each`` users, all in one mixed-up order.

        own, output  tokens behind the shared ones, and of the answer
        """
        return cls("shared_prefix", tuple(system_prompts(groups, each, shared, own, output, rate, seed)))

    @classmethod
    def chats(
        cls, sessions: int, turns: int, *, system: int, new: Lengths | int, output: Lengths | int,
        think: float, rate: float = math.inf, seed: int = 0,
    ) -> Workload:  # fmt: skip
        """Conversations: each turn's prompt is all that was said and answered before, and ``new`` tokens.

        system  tokens of the system prompt, one for all
        think   mean seconds between two turns of a chat, uniform from 0.7 to 1.3 times that
        rate    chats that begin, a second
        """
        return cls("chats", tuple(conversations(sessions, turns, system, new, output, think, rate, seed)))

    @property
    def rate(self) -> float:
        """Requests a second, up to the last arrival; inf if all come at once."""
        last = self.jobs[-1].arrival_s if self.jobs else 0.0
        return len(self.jobs) / last if last else math.inf

    def head(self, n: int) -> Workload:
        """The first ``n`` jobs."""
        if n < 1:
            raise ValueError(f"{n} jobs: a workload has at least one")
        return Workload(self.name, self.jobs[:n])

    def scaled(self, rate: float) -> Workload:
        """The same pattern of arrivals, faster or slower. Raises ValueError if all come at once:
        no pattern.
        """
        if not rate > 0:
            raise ValueError(f"rate={rate}: must be above 0 (inf is allowed)")
        if math.isinf(self.rate) and not math.isinf(rate):
            raise ValueError(
                f"{self.name!r} has all its arrivals at 0, they cannot be spread to {rate}/s: make it with "
                "a rate"
            )
        if len(self) / rate > MOST_SECONDS:
            raise ValueError(
                f"rate={rate}: {len(self)} requests would take more than {MOST_SECONDS:,.0f} s: raise the "
                "rate"
            )
        factor = 0.0 if math.isinf(rate) else self.rate / rate
        return Workload(self.name, tuple(job._replace(arrival_s=job.arrival_s * factor) for job in self))

    def shortened(self, factor: float) -> Workload:
        """All lengths times ``factor``, at least 1:
        a data centre's traffic at the size of a small machine.
        """
        if not 0 < factor < math.inf:
            raise ValueError(f"factor={factor}: must be above 0")
        longest = max((max(job.prompt_tokens, job.output_tokens) for job in self), default=0)
        if longest * factor > MOST_TOKENS:
            raise ValueError(f"factor={factor}: {longest} tokens would become more than {MOST_TOKENS:,}")

        def cut(tokens: int) -> int:
            return max(1, round(tokens * factor))

        def cut_job(job: Job) -> Job:
            parts = tuple((name, cut(tokens)) for name, tokens in job.parts)
            prompt = max(cut(job.prompt_tokens), sum(tokens for _, tokens in parts))
            return job._replace(prompt_tokens=prompt, output_tokens=cut(job.output_tokens), parts=parts)

        return Workload(self.name, tuple(map(cut_job, self)))

    def prompts(self, vocab_size: int, seed: int = 0) -> list[list[int]]:
        """Random token ids for each job. Behind what their parts share,
        no two of vocab_size jobs go on alike.
        """
        rng, vocabulary = Random(seed), range(vocab_size)
        first = rng.sample(vocabulary, vocab_size)
        rest = [rng.choices(vocabulary, k=job.prompt_tokens - 1) for job in self]
        made = []
        for i, (job, tokens) in enumerate(zip(self, rest, strict=True)):
            shared = [token for part in job.parts for token in part_tokens(*part, vocab_size, seed)]
            made.append([*shared, first[i % vocab_size], *tokens][: job.prompt_tokens])
        return made

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs)

    def __getitem__(self, index: int) -> Job:
        return self.jobs[index]

    def __str__(self) -> str:
        count = max(1, len(self))
        prompt, output = (
            sum(job.prompt_tokens for job in self) / count,
            sum(job.output_tokens for job in self) / count,
        )
        pace = "all at once" if math.isinf(self.rate) else f"{self.rate:.2f} a second"
        means = f"mean {prompt:.0f} prompt and {output:.0f} output tokens"
        return f"{self.name}: {len(self)} requests, {pace}, {means}"


# -- presets ------------------------------------------------------------------------------------------------


class Preset(NamedTuple):
    """Distributions, arrivals and where the numbers come from. CV: coefficient of variation,
    1/√burstiness.
    """

    prompt: Lengths
    output: Lengths
    rate: float
    burstiness: float
    source: str


PRESETS = {
    "ladder": Preset(uniform(16, 128), exponential(32, most=96), 2.0, 1.0,
    "ours: the workload that the lessons share"), "uniform_short": Preset(uniform(16, 48), fixed(32), 4.0,
    1.0, "ours: short and alike, a static batch's best case"), "mixed_length": Preset(uniform(16, 256),
    uniform(16, 128), 4.0, 1.0, "ours: the lengths of benchmarks/cpu_peers"), "bursty": Preset(uniform(16,
    256), uniform(16, 128), 4.0, 0.25, "ours: mixed_length, its gaps with a CV of 2"), "chat": Preset(
        lognormal(1155, 0.985, 8192), lognormal(211, 0.859, 1000), 5.53, 0.84,
        "Azure LLM inference trace 2023, conversation (Splitwise, ISCA 2024): 19,366 requests, CV of gaps "
        "1.09",
    ),
    "code": Preset(
        lognormal(2048, 1.360, 8192), lognormal(27.9, 0.847, 1000), 2.57, 0.0058,
        "Azure LLM inference trace 2023, code (Splitwise, ISCA 2024): 8,819 requests, CV of gaps 13.15",
    ),
    "long_prompt": Preset(
        lognormal(7906, 0.476), lognormal(230, 0.45), 0.5, 1.0,  # mean = median · e^(σ²/2)
        "arxiv_summarization in Sarathi-Serve, OSDI 2024, table 2: medians 7059 and 208; the rate is ours",
    ),
    "sharegpt": Preset(
        lognormal(161.31, 1.2, 1024), lognormal(337.99, 1.0, 1024), 2.0, 1.0,
        "ShareGPT in the vLLM paper, SOSP 2023, figures 11 and 13: means 161.31, 337.99; the deviations are "
        "assumed",
    ),
    "alpaca": Preset(
        lognormal(19.31, 0.5, 512), lognormal(58.45, 1.0, 512), 30.0, 1.0,
        "Alpaca in the vLLM paper, SOSP 2023, figures 11 and 13: means 19.31, 58.45; the deviations are "
        "assumed",
    ),
}  # fmt: skip

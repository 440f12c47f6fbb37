"""Published results, run again on the simulator: ``rerun("vllm")`` returns a table that prints itself.

Each module holds one paper's set-up as data, with every constant that was assumed. Nothing is adjusted until
a figure fits: what does not reproduce is shown as it came out, with the likely reason.
"""

from __future__ import annotations

from importlib import import_module

from .table import Row, Table

PAPERS = {
    "measured": "step times and speeds that gpt-fast, AIConfigurator and LLMServingSim measured",
    "orca": "Yu et al., Orca, OSDI 2022",
    "vllm": "Kwon et al., PagedAttention, SOSP 2023",
    "sarathi": "Agrawal et al., Sarathi-Serve, OSDI 2024",
    "sarathi-pp": "Agrawal et al., SARATHI, arXiv 2308.16369",
    "vtc": "Sheng et al., fairness by the virtual token counter, OSDI 2024",
    "ltr": "Fu et al., learning to rank, NeurIPS 2024",
    "anyscale": "Daniel et al., continuous batching, Anyscale blog, June 2023",
    "vllm-watermark": "vLLM, pull request 44594: a watermark against preemptions, June 2026",
    "llmd-b2b": "llm-d, four routers for prompts that begin alike, September 2025",
    "pool-routing": "Chen et al., short requests to a pool of their own, arXiv 2604.09613",
    "fastgen-16": "Holmes et al., DeepSpeed-FastGen: sixteen replicas, arXiv 2401.08671",
    "mooncake": "Qin et al., Mooncake, FAST 2025: what a prefix cache finds (needs its traces)",
}


def rerun(paper: str, seed: int = 0) -> Table:
    """Run a paper's experiment again (seconds to a minute). Raises ValueError with the names there are,
    and MissingTrace where the paper's own measurements are needed and are not here.
    """
    if paper not in PAPERS:
        raise ValueError(f"paper={paper!r}: choose one of {', '.join(PAPERS)}")
    return import_module(f".{paper.replace('-', '_')}", __name__).run(seed)


__all__ = ["PAPERS", "Row", "Table", "rerun"]

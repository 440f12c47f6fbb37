"""Draws docs/ladder.png, the picture of the README, and stores docs/ladder/*.json, its players on the site:
eight requests under the four schedulers.

    python docs/ladder.py

No model runs: a step is taken to last 0.4 s plus 0.03 s for each position it computes, padding and finished rows
included. The schedulers, the cache and the trace are the engine's own.
"""

from __future__ import annotations

from pathlib import Path

from minieng import Engine, EngineConfig, Plan, Request, SamplingParams
from minieng.clock import VirtualClock
from minieng.draw import player_data, player_text
from minieng.kv.allocator import KVCache
from minieng.observe.trace import Trace
from minieng.plan import StepResult
from minieng.viz import compare

#            prompt, output, arrival (s)
REQUESTS = {"A": (4, 6, 0.0), "B": (7, 2, 0.2), "C": (2, 9, 0.4), "D": (5, 3, 3.0),
            "E": (3, 5, 3.5), "F": (20, 4, 4.0), "G": (2, 3, 6.0), "H": (6, 5, 7.0)}  # fmt: skip
RUNGS = {
    "static: waits for a full batch, ends with its longest": {"scheduler": "static", "batch_size": 4},
    "dynamic: waits 1 s at most": {"scheduler": "dynamic", "batch_size": 4, "wait_window": 1.0},
    "continuous: a new batch at every step": {"scheduler": "continuous"},
    "chunked: at most 8 tokens a step, decodes first": {"scheduler": "chunked", "max_num_batched_tokens": 8},
}


class Formula:
    """An executor without a model."""

    def execute(self, plan: Plan) -> StepResult:
        positions = plan.num_tokens + plan.num_padding_tokens + plan.num_finished_row_tokens
        tokens = [0 if r.num_computed_tokens + n == r.num_tokens else None for r, n in plan.extend]
        return StepResult(tokens, 0.4 + 0.03 * positions)


def run(knobs: dict) -> Trace:
    engine = Engine(Formula(), KVCache(64, 4), EngineConfig(max_num_seqs=4, **knobs), VirtualClock())
    for name, (prompt, output, arrival) in REQUESTS.items():
        params = SamplingParams(max_tokens=output, ignore_eos=True)
        engine.add_request(Request(name, range(prompt), params, arrival_time=arrival))
    return engine.run()


if __name__ == "__main__":
    here = Path(__file__).parent
    traces = {name: run(knobs) for name, knobs in RUNGS.items()}
    picture = compare(traces, by="time")
    picture.save(here / "ladder.png")
    for name, trace in traces.items():
        text = player_text(player_data(trace, title=name.capitalize()))
        (here / "ladder" / f"{name.partition(':')[0]}.json").write_text(text + "\n", encoding="utf-8")
    print(picture.alt_text())

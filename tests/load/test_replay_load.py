"""Observe, replay, compare: a recording keeps what was seen, and its replay errs little where the knobs are the server's."""

from __future__ import annotations

import json
import math

import pytest

from minieng.config import EngineConfig
from minieng.load import Answer, Recording, replay
from minieng.load.compare import SHORTEST, _engine, _later, _serve, fit_to, seen_steps, token_times
from minieng.sim.cost_model import StepTimeModel, Work
from minieng.sim.hardware import GPUS, MODELS
from minieng.workload import Job, Workload

MODEL = MODELS["llama-7b"]
TIMES = StepTimeModel(MODEL, GPUS["A100-80G"])
KNOBS = EngineConfig(scheduler="chunked", max_num_seqs=8, max_num_batched_tokens=256)
DOOR = 0.004


def seen(rate: float, n: int = 60, knobs: EngineConfig = KNOBS, seed: int = 1) -> Recording:
    """What a client of a server would have seen that takes as long as a formula says, and a door."""
    workload = Workload.preset("mixed_length", n, rate=rate, seed=seed)
    answers = []
    for request, job in zip(_serve(_engine(TIMES, knobs, workload), _later(workload, DOOR / 2)), workload, strict=True):
        times = [when + DOOR / 2 for when in request.token_times]
        answers.append(Answer(job.prompt_tokens, job.arrival_s, 0.0, times, times[-1], "length", job.output_tokens))
    return Recording(workload, answers, {"model": "llama-7b"})


@pytest.mark.parametrize("rate", [2.0, 6.0, 12.0])
def test_a_replay_with_the_servers_knobs_is_close(rate):
    report = replay(seen(rate), KNOBS, MODEL)
    errors = report.request_errors()
    assert errors[len(errors) // 2] < 0.02 and errors[int(0.9 * len(errors))] < 0.06
    figures = report.figures()
    assert all(abs(error) < 0.05 for name in ("itl", "e2el") for _, _, error in figures[name].values())
    assert abs(figures["ttft"]["mean"][2]) < 0.1  # a tail of some requests goes by whether a step was missed by a hair
    assert report.fitted.error < 0.05 and report.left_out == 0


def test_a_replay_with_other_knobs_is_not():
    """Two seats where the server had eight: the queue is another."""
    report = replay(seen(8.0), EngineConfig(scheduler="chunked", max_num_seqs=2, max_num_batched_tokens=256), MODEL)
    errors = report.request_errors()
    assert errors[len(errors) // 2] > 0.2


def test_a_server_that_knew_the_prompts_already_is_told_of():
    """It had less to compute than the replay has."""
    recording = seen(6.0)
    assert "cache" not in str(replay(recording, KNOBS, MODEL))
    for answer in recording.answers:
        answer.num_cached_tokens = answer.num_prompt_tokens - 1
    report = replay(recording, KNOBS, MODEL)
    known = sum(answer.num_prompt_tokens - 1 for answer in recording.answers)
    assert f"found {known:,} tokens of prompts in its cache, the replay 0" in str(report) and "--seed" in str(report)
    assert report.as_dict()["cached_tokens"] == {"seen": known, "replayed": 0}


def test_step_times_of_one_recording_foretell_another():
    fitted = fit_to(seen(6.0), KNOBS, MODEL)
    report = replay(seen(10.0, seed=2), KNOBS, MODEL, fitted)
    errors = report.request_errors()
    assert errors[len(errors) // 2] < 0.05
    assert fitted.door == pytest.approx(DOOR, abs=0.003)


def test_the_steps_are_made_out_from_the_times_of_tokens_alone():
    recording = seen(4.0)
    times = {str(i): token_times(answer) for i, answer in enumerate(recording.answers)}
    records, first = seen_steps(_later(recording.workload, DOOR), KNOBS, MODEL, times, lambda work: float(TIMES.seconds(work)))
    errors = sorted(abs(TIMES.seconds(Work.of_record(r)) / r.duration - 1) for r in records if r.duration > SHORTEST)
    assert errors[int(0.9 * len(errors))] < 0.02 and len(records) > 500 and 0 < len(first) < 60


def test_several_tokens_in_a_chunk_have_its_time():
    answer = Answer(1, token_times=[1.0, 2.0, 3.0], num_output_tokens=7)
    assert token_times(answer) == [1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0]
    assert token_times(Answer(1, token_times=[1.0], num_output_tokens=1)) == [1.0]


# -- files ------------------------------------------------------------------------------------------------------


def test_a_recording_comes_back_as_it_was(tmp_path):
    jobs = (Job(0.0, 5, 3, parts=(("a", 2),), user="u"), Job(0.5, 4, 2), Job(0.75, 4, 2))
    answers = [
        Answer(5, 0.0, 0.001, [0.25, 0.5], 0.5, "length", 3), Answer(4, 0.5, 0.0, [0.625], 0.625, "stop", 1, 3),
        Answer(4, 0.75, 0.0, problem="503: full"),
    ]  # fmt: skip
    written = Recording(Workload("w", jobs), answers, {"model": "m", "cache": {"num_gpu_blocks": "7"}})
    written.save(tmp_path / "seen.json")
    read = Recording.load(tmp_path / "seen.json")
    assert (read.workload, read.answers) == (written.workload, written.answers)
    assert read.about["model"] == "m" and read.about["cache"] == {"num_gpu_blocks": "7"} and "date" in read.about


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda d: d.pop("minieng_load"), "holds no recording of format 1"),
        (lambda d: d["requests"].clear(), "holds no recording"),
        (lambda d: d["requests"][0].pop("token_s"), "request 0: KeyError"),
        (lambda d: d["requests"][0].update(token_s=[0.5, 0.25]), "must ascend"),
        (lambda d: d["requests"][0].update(tokens=1), "no more than its 1 tokens"),
        (lambda d: d["requests"][0].update(prompt_tokens=0), "prompt_tokens=0 must be at least 1"),
        (lambda d: d["requests"][0].update(arrival_s=0.4), "must ascend from its arrival at 0.4"),
        (lambda d: d["requests"][0].update(token_s=[0.25, math.nan]), "must ascend"),
        (lambda d: d["requests"][0].update(token_s=[0.25, 1e300]), "must ascend"),
        (lambda d: d["requests"][0].update(token_s=[0.25, 10**400]), "request 0: OverflowError"),
        (lambda d: d["requests"][0].update(tokens=math.inf), "request 0: OverflowError"),
        (lambda d: d.update(requests={"a": 1}), "its requests are no list"),
        (lambda d: d.update(cache=[1]), "its cache no object"),
    ],
)  # fmt: skip
def test_a_file_that_was_changed_is_refused_with_the_reason(tmp_path, change, told):
    path = tmp_path / "seen.json"
    Recording(Workload("w", (Job(0.0, 5, 3),)), [Answer(5, 0.0, 0.0, [0.25, 0.5], 0.5, "length", 3)]).save(path)
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))
    with pytest.raises(ValueError, match=told):
        Recording.load(path)


def test_nothing_to_replay():
    lost = Recording(Workload("w", (Job(0.0, 5, 3),)), [Answer(5, problem="503: full")])
    with pytest.raises(ValueError, match="no request of the recording was answered"):
        replay(lost, KNOBS, MODEL)
    with pytest.raises(ValueError, match="steps with tokens and a duration: record at least"):
        replay(
            seen(1.0, n=1, knobs=KNOBS).__class__(
                Workload("w", (Job(0.0, 5, 1),)), [Answer(5, 0.0, 0.0, [0.2], 0.2, "length", 1)]
            ),
            KNOBS,
            MODEL,
        )
    with pytest.raises(ValueError, match="needs 320 tokens of KV, the cache holds 64"):
        replay(seen(4.0), EngineConfig(scheduler="chunked", num_blocks=4), MODEL)

"""Workloads: lengths and arrivals are distributed as they are named, and a bad file says what is wrong with it."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minieng.distributions import arrivals
from minieng.workload import PRESETS, Job, Workload, exponential, fixed, lognormal, uniform

MANY = 20_000


def draw(lengths, n=MANY, seed=0):
    return lengths(np.random.default_rng(seed), n)


def test_lengths_have_the_shape_that_their_name_promises():
    assert set(draw(fixed(7))) == {7}
    assert set(draw(uniform(3, 6))) == {3, 4, 5, 6}
    assert draw(exponential(128)).mean() == pytest.approx(128.5, rel=0.03)  # rounded up
    assert draw(exponential(128, 32)).max() == 32
    logs = np.log(draw(lognormal(1000, 0.7)))
    assert (logs.mean(), logs.std()) == pytest.approx((math.log(1000) - 0.7**2 / 2, 0.7), rel=0.02)


@pytest.mark.parametrize(("cap", "published"), [(32, 16), (128, 55), (512, 123), (1536, 132)])
def test_capped_exponential_has_the_means_that_anyscale_printed(cap, published):
    assert draw(exponential(128, cap)).mean() == pytest.approx(published, rel=0.05)


@settings(max_examples=30, deadline=None)
@given(st.floats(5, 500), st.floats(0.3, 1.5), st.floats(2.1, 50), st.integers(0, 9))
def test_a_cut_off_keeps_the_mean_and_the_limit(mean, sigma, room, seed):
    lengths = draw(lognormal(mean, sigma, int(mean * room) + 1), seed=seed)
    assert 1 <= lengths.min() and lengths.max() <= int(mean * room) + 1
    assert lengths.mean() == pytest.approx(mean, rel=0.08, abs=0.5)


@pytest.mark.parametrize("wrong", [(0, 1, None), (10, 0, None), (10, 1, 15), (math.nan, 1, None)])
def test_a_log_normal_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError):
        lognormal(*wrong)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gaps_vary_as_burstiness_says_and_the_last_arrival_is_exact(burstiness):
    times = arrivals(np.random.default_rng(0), MANY, 5.0, burstiness)
    gaps = np.diff(times)
    assert times[-1] == pytest.approx(MANY / 5.0, rel=1e-12)
    assert gaps.min() >= 0 and gaps.std() / gaps.mean() == pytest.approx(burstiness**-0.5, rel=0.05)


def test_the_two_infinities():
    rng = np.random.default_rng(0)
    assert arrivals(rng, 4, 2.0, math.inf).tolist() == [0.5, 1.0, 1.5, 2.0]
    assert arrivals(rng, 3, math.inf).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("wrong", [(0, 1), (-1, 1), (math.nan, 1), (1, 0), (1, math.nan)])
def test_a_rate_or_burstiness_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="above 0"):
        arrivals(np.random.default_rng(0), 3, *wrong)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_repeatable_and_of_their_rate(name):
    one = Workload.preset(name, 50)
    assert one == Workload.preset(name, 50) != Workload.preset(name, 50, seed=1)
    assert len(one) == 50 and one.rate == pytest.approx(PRESETS[name].rate)
    assert name in str(one)


@pytest.mark.parametrize(("name", "prompt", "output"), [("sharegpt", 161.31, 337.99), ("alpaca", 19.31, 58.45),
                                                        ("chat", 1155, 211), ("code", 2048, 27.9)])  # fmt: skip
def test_presets_have_the_published_means(name, prompt, output):
    jobs = Workload.preset(name, MANY).jobs
    assert np.mean([job.prompt_tokens for job in jobs]) == pytest.approx(prompt, rel=0.03)
    assert np.mean([job.output_tokens for job in jobs]) == pytest.approx(output, rel=0.03)


def test_the_rate_changes_arrivals_and_nothing_else():
    slow, fast = (Workload.preset("mixed_length", 20, rate=rate) for rate in (1, 10))
    assert [job[1:] for job in slow] == [job[1:] for job in fast]
    assert slow.scaled(10).rate == pytest.approx(10)
    assert slow.scaled(math.inf) == Workload(slow.name, tuple(job._replace(arrival_s=0.0) for job in slow))
    assert slow.head(5).jobs == slow.jobs[:5]
    with pytest.raises(ValueError, match="at 0"):
        slow.scaled(math.inf).scaled(2)


def test_shortened_keeps_at_least_one_token():
    assert Workload("w", ((0, 100, 3), (1, 4, 40, "u", 2, 9.0))).shortened(0.1).jobs == (
        Job(0, 10, 1), Job(1, 1, 4, "u", 2, 9.0))  # fmt: skip


def test_no_prompt_is_a_prefix_of_another():
    workload = Workload.synthetic(300, uniform(1, 4), fixed(1))
    prompts = workload.prompts(320, seed=5)
    assert [len(prompt) for prompt in prompts] == [job.prompt_tokens for job in workload]
    assert len({prompt[0] for prompt in prompts}) == 300
    assert all(0 <= token < 320 for prompt in prompts for token in prompt)
    assert prompts == workload.prompts(320, seed=5) != workload.prompts(320, seed=6)


# -- files --------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(
    st.integers(0, 10**9).map(lambda ms: ms / 1000), st.integers(1, 10**6), st.integers(1, 10**6),
    st.sampled_from(["", "ann", "a,b"]), st.integers(-3, 3), st.none() | st.floats(0.5, 10),
), min_size=1, max_size=8))  # fmt: skip
def test_what_is_written_is_read_again(tmp_path_factory, jobs):
    path = tmp_path_factory.mktemp("csv") / "w.csv"
    workload = Workload("w", tuple(jobs))
    workload.to_csv(path)
    assert Workload.from_csv(path) == workload


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_comments_blank_lines_and_disorder_are_fine(tmp_path):
    text = "\ufeff# a comment\n\narrival_s,prompt_tokens,output_tokens\r\n2.5,3,4\n# more\n0, 1 ,2\n"
    assert Workload.from_csv(write(tmp_path / "t.csv", text)).jobs == (Job(0, 1, 2), Job(2.5, 3, 4))


def test_the_published_form_of_the_azure_trace_is_read(tmp_path):
    rows = ["2023-11-16 18:15:46.6805900,374,44", "2023-11-16 18:15:50.9951690,396,109"]
    text = "\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows])
    jobs = Workload.from_csv(write(tmp_path / "a.csv", text)).jobs
    assert [job[1:3] for job in jobs] == [(374, 44), (396, 109)]
    assert [job.arrival_s for job in jobs] == pytest.approx([0, 4.314579], abs=1e-5)


def test_bad_rows_are_named_by_line(tmp_path):
    bad = ["x,1,1", "1,1.5,1", "2,0,1", "3,1", "-1,1,1", "nan,1,1", "4,1,z"]
    text = "\n".join(["arrival_s,prompt_tokens,output_tokens", "0,1,1", "# fine", *bad])
    with pytest.raises(ValueError) as error:
        Workload.from_csv(write(tmp_path / "t.csv", text))
    said = ["line 4: arrival_s='x'", "line 5: prompt_tokens='1.5' is not a whole number", "line 6: prompt_tokens=0",
            "line 7 has 2 columns instead of 3", "line 8: arrival_s=-1.0", "and 2 more"]  # fmt: skip
    assert [part for part in ["t.csv", *said] if part not in str(error.value)] == []


@pytest.mark.parametrize("text", ["", "# only\n", "a,b,c\n1,2,3", "1,2,3\n", "arrival_s,prompt_tokens,output_tokens"])
def test_a_file_that_is_no_trace_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match="t.csv"):
        Workload.from_csv(write(tmp_path / "t.csv", text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x9c" * 30)
    for name in ("binary.csv", "absent.csv", ""):
        with pytest.raises(ValueError, match="cannot read the trace"):
            Workload.from_csv(tmp_path / name)


def test_names_lead_to_presets_and_files(tmp_path):
    path = str(tmp_path / "t.csv")
    Workload.preset("alpaca", 9).to_csv(path)
    assert len(Workload.named(path)) == 9 and len(Workload.named(path, 4, rate=3)) == 4
    assert Workload.named(path, rate=3).rate == pytest.approx(3)
    assert Workload.named("alpaca", 5, seed=2) == Workload.preset("alpaca", 5, seed=2)
    with pytest.raises(ValueError, match="its own arrivals"):
        Workload.named(path, burstiness=2)
    with pytest.raises(ValueError, match="choose ladder, uniform_short"):
        Workload.named("nope")
    with pytest.raises(ValueError, match="at least one"):
        Workload.named("alpaca", 0)


def test_without_the_azure_trace_the_error_says_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.delenv("MINIENG_TRACES", raising=False)
    with pytest.raises(ValueError, match="MINIENG_TRACES.*github.com/Azure/AzurePublicDataset"):
        Workload.preset("azure_conv")
    monkeypatch.setenv("MINIENG_TRACES", str(tmp_path))
    with pytest.raises(ValueError, match=str(tmp_path)):
        Workload.preset("azure_conv")


@pytest.mark.skipif("MINIENG_TRACES" not in os.environ, reason="MINIENG_TRACES names no folder with the trace")
def test_the_azure_trace_has_the_published_statistics():
    workload = Workload.preset("azure_conv", MANY)
    prompts, outputs = ([job[i] for job in workload] for i in (1, 2))
    assert (len(workload), max(prompts)) == (19_366, 14_050)
    assert (round(np.mean(prompts)), round(np.mean(outputs))) == (1155, 211)
    assert (np.median(prompts), np.median(outputs)) == (1020, 129)
    assert workload.rate == pytest.approx(5.53, abs=0.01)

"""Workloads: lengths and arrivals are distributed as they are named, and a bad file says what is wrong with it."""

import math
import os
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minieng.distributions import arrivals
from minieng.job import MOST_TOKENS
from minieng.workload import AZURE_HEAD, AZURE_ROWS, PRESETS, Job, Workload, exponential, fixed, lognormal, uniform

MANY = 20_000
JOBS_7, PROMPT_7 = [(66, 46), (23, 105), (134, 126), (156, 44)], [331, 925, 226, 34]
TIMES_7 = [0.3635495224651374, 0.5767101136653909, 0.7781242389878168, 1.0]


def draw(lengths, n=MANY, seed=0):
    return np.array(lengths(Random(seed), n))


def test_lengths_have_the_shape_that_their_name_promises():
    assert set(draw(fixed(7))) == {7}
    assert set(draw(uniform(3, 6))) == {3, 4, 5, 6}
    assert draw(exponential(128)).mean() == pytest.approx(128.5, rel=0.03)  # rounded up
    assert draw(exponential(128, 32)).max() == 32
    assert draw(uniform(3, 6)).mean() == pytest.approx(4.5, rel=0.01)
    assert draw(uniform(3, 6)).var() == pytest.approx((4**2 - 1) / 12, rel=0.03)
    assert draw(exponential(128)).std() == pytest.approx(128, rel=0.03)
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
    times = arrivals(Random(0), MANY, 5.0, burstiness)
    gaps = np.diff(times)
    assert times[-1] == pytest.approx(MANY / 5.0, rel=1e-12)
    assert gaps.min() >= 0 and gaps.std() / gaps.mean() == pytest.approx(burstiness**-0.5, rel=0.05)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gaps_are_gamma(burstiness):
    """Their third moment too: the skewness of a Gamma variate is 2/√shape."""
    gaps = np.diff(arrivals(Random(1), 10 * MANY, 1.0, burstiness))
    skewness = ((gaps - gaps.mean()) ** 3).mean() / gaps.std() ** 3
    assert skewness == pytest.approx(2 * burstiness**-0.5, rel=0.08)


@pytest.mark.parametrize("burstiness", [1e-3, 1e-9, 1e-300, 5e-324])
def test_the_burstiest_arrivals_come_in_one_clump_and_not_evenly(burstiness):
    gaps = np.diff([0.0, *arrivals(Random(0), 50, 2.0, burstiness)])
    assert gaps.sum() == pytest.approx(25.0) and gaps.min() >= 0
    assert gaps.max() > 0.9 * gaps.sum()


@pytest.mark.parametrize("burstiness", [1e31, 1e32, 1.7e308, math.inf])
def test_the_steadiest_arrivals_are_even(burstiness):
    assert arrivals(Random(0), 50, 2.0, burstiness) == pytest.approx([0.5 * (i + 1) for i in range(50)], rel=1e-12)


def test_the_two_infinities():
    rng = Random(0)
    assert arrivals(rng, 4, 2.0, math.inf) == [0.5, 1.0, 1.5, 2.0]
    assert arrivals(rng, 3, math.inf) == [0.0, 0.0, 0.0]
    assert arrivals(rng, 0, 2.0) == []


@pytest.mark.parametrize("wrong", [(0, 1), (-1, 1), (math.nan, 1), (1, 0), (1, math.nan)])
def test_a_rate_or_burstiness_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="above 0"):
        arrivals(Random(0), 3, *wrong)


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


def test_a_seed_gives_these_requests_on_every_machine():
    """Drawn once with Python's generator, which is the same in every version and in a web page."""
    jobs = Workload.preset("mixed_length", 4, seed=7)
    assert [job[1:3] for job in jobs] == JOBS_7
    assert [job.arrival_s for job in jobs] == pytest.approx(TIMES_7, rel=1e-9)
    assert jobs.prompts(1000, seed=7)[0][:4] == PROMPT_7


@pytest.mark.parametrize("job", [(0, 10**9, 1), (0, 1, 10**9), (0, 1, 1, "", 0, math.nan), (0, 1, 1, "", 0, -1.0)])
def test_a_job_that_cannot_be_is_refused(job):
    with pytest.raises(ValueError, match="job 0 of 'w': (prompt_tokens|output_tokens|deadline)="):
        Workload("w", (job,))
    assert len(Workload("w", ((0, MOST_TOKENS, MOST_TOKENS, "", 0, 0.0),))) == 1


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

USERS = ["", "ann", "a,b", "a\nb", "a\rb", "a\r\n\r\nb", "a\n# b", '"', '#"a', "é\u2028b"]
HEADER = "arrival_s,prompt_tokens,output_tokens"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(
    st.integers(0, 10**9).map(lambda ms: ms / 1000), st.integers(1, 10**6), st.integers(1, 10**6),
    st.sampled_from(USERS), st.integers(-3, 3), st.none() | st.floats(0.5, 10),
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


def test_a_comment_may_hold_anything_and_a_quoted_cell_may_look_like_one(tmp_path):
    text = '#"not closed\nuser,arrival_s,prompt_tokens,output_tokens\n"a\n# b\n\nc",0,1,2\n#,",\n"#d",1,1,2'
    assert [job.user for job in Workload.from_csv(write(tmp_path / "t.csv", text))] == ["a\n# b\n\nc", "#d"]


def test_the_azure_trace_of_2024_is_read(tmp_path):
    rows = ["2024-05-10 00:00:00.009930+00:00,2162,5", "2024-05-10 00:00:00.017335+00:00,2399,6", "2024-05-10T02:00:01+02:00,7,8"]
    text = "\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows])
    jobs = Workload.from_csv(write(tmp_path / "a.csv", text)).jobs
    assert [job[1:3] for job in jobs] == [(2162, 5), (2399, 6), (7, 8)]
    assert [job.arrival_s for job in jobs] == pytest.approx([0, 0.007405, 0.99007], abs=1e-9)


def test_dates_may_be_in_any_order_and_of_any_age(tmp_path):
    text = f"{HEADER}\n2024-05-10T00:00:03,2,1\n2024-05-10T00:00:01,1,1\n"
    assert Workload.from_csv(write(tmp_path / "t.csv", text)).jobs == (Job(0, 1, 1), Job(2, 2, 1))
    text = f"{HEADER}\n1924-05-10,1,1\n1924-05-11,2,1\n"
    assert Workload.from_csv(write(tmp_path / "t.csv", text)).jobs == (Job(0, 1, 1), Job(86400, 2, 1))


@pytest.mark.parametrize("rows, line, said", [
    ("2024-05-10T00:00:00,1,1\n2024-05-10T00:00:00Z,1,1", 3, "a date with a time zone, but line 2 has a date with no time zone"),
    ("2024-05-10T00:00:00Z,1,1\n2024-05-10T00:00:00,1,1", 3, "a date with no time zone, but line 2 has a date with a time zone"),
    ("0,1,1\n1,1,1\n2024-05-10T00:00:00,1,1", 4, "a date with no time zone, but line 2 has a number"),
    ('0,1,1\n1,"1"x,1', 3, "is no row of a CSV file"),
    ('0,1,1\n1,1,"1\n2,1,1\n3,1,1', 3, "is a quotation mark missing?"),
    ("0,1,1\n1," + "1" * 131_073 + ",1", 3, "field larger than field limit"),
    ("0,1,1\n1," + "1" * 5_000 + ",1", 3, "prompt_tokens='11111"),
    ("0,1000000000,1", 2, "prompt_tokens=1000000000 must be at most 10,000,000"),
    ("0,1,1000000000", 2, "output_tokens=1000000000 must be at most 10,000,000"),
    ("1e999,1,1", 2, "arrival_s=inf must be a time"),
], ids=str)  # fmt: skip
def test_a_row_that_cannot_be_is_named_by_its_line(tmp_path, rows, line, said):
    with pytest.raises(ValueError) as error:
        Workload.from_csv(write(tmp_path / "t.csv", f"{HEADER}\n{rows}\n"))
    assert f"line {line}" in str(error.value) and said in str(error.value)
    assert len(str(error.value)) < 400


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


@pytest.mark.parametrize("text", ["", "# only\n", "a,b,c\n1,2,3", "1,2,3\n", "arrival_s,prompt_tokens,output_tokens",
                                  "arrival_s,arrival_s,prompt_tokens,output_tokens\n1,2,3,4"])  # fmt: skip
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
        Workload.preset("azure_conv", AZURE_ROWS + 1)
    monkeypatch.setenv("MINIENG_TRACES", str(tmp_path))
    with pytest.raises(ValueError, match=str(tmp_path)):
        Workload.preset("azure_conv", AZURE_ROWS + 1)


def test_the_first_requests_of_the_azure_trace_are_in_the_package_with_their_licence(monkeypatch):
    monkeypatch.delenv("MINIENG_TRACES", raising=False)
    workload = Workload.preset("azure_conv", AZURE_ROWS)
    assert len(workload) == AZURE_ROWS and workload[0] == Job(0.0, 374, 44) and workload[-1] == Job(424.259, 424, 96)
    assert Workload.preset("azure_conv", 10).jobs == workload.jobs[:10]
    assert "CC-BY-4.0" in AZURE_HEAD.read_text().splitlines()[0]


@pytest.mark.skipif("MINIENG_TRACES" not in os.environ, reason="MINIENG_TRACES names no folder with the trace")
def test_the_packages_requests_are_those_of_the_whole_trace():
    assert Workload.preset("azure_conv", MANY).jobs[:AZURE_ROWS] == Workload.preset("azure_conv", AZURE_ROWS).jobs


@pytest.mark.skipif("MINIENG_TRACES" not in os.environ, reason="MINIENG_TRACES names no folder with the trace")
def test_the_azure_trace_has_the_published_statistics():
    workload = Workload.preset("azure_conv", MANY)
    prompts, outputs = ([job[i] for job in workload] for i in (1, 2))
    assert (len(workload), max(prompts)) == (19_366, 14_050)
    assert (round(np.mean(prompts)), round(np.mean(outputs))) == (1155, 211)
    assert (np.median(prompts), np.median(outputs)) == (1020, 129)
    assert workload.rate == pytest.approx(5.53, abs=0.01)

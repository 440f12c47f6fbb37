"""Replicas of different kinds, replicas that die, and prefill and decode apart, in virtual time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from minieng.cli import main
from minieng.config import EngineConfig
from minieng.observe import highest_rate, share_good
from minieng.parallel.router import ROUTERS, Load, make_router
from minieng.request import Request, SamplingParams
from minieng.sim import Apart, Cluster, StepTimeModel, scripted_requests, simulated_engine
from minieng.sim.cluster import speed_of
from minieng.sim.cost_model import Work
from minieng.sim.executor import scripted_request
from minieng.workload import Workload

FAST, SLOW = (StepTimeModel.named("llama-3-8b", gpu) for gpu in ("H100", "A100-80G"))
CONFIG = EngineConfig(
    scheduler="chunked", max_num_seqs=64, max_num_batched_tokens=512, enable_prefix_caching=False, num_blocks=4000
)  # fmt: skip


def chat(count: int, rate: float) -> list[Request]:
    return scripted_requests(Workload.preset("chat", count, rate=rate))


def whole(asked: list[Request], served: list[Request]) -> None:
    """Every text is there once, with a time for each token, and has the length that it was to have."""
    assert [r.request_id for r in served] == [r.request_id for r in sorted(asked, key=lambda r: r.arrival_time)]
    lengths = {r.request_id: min(len(r.scripted_output), r.params.max_tokens) for r in asked}
    for r in served:
        assert r.num_output_tokens == len(r.token_times) == lengths[r.request_id]
        assert r.token_times == sorted(r.token_times) and r.token_times[0] > r.arrival_time
        assert r.finish_time == r.token_times[-1] and r.finish_reason in ("stop", "length")


# -- replicas of different kinds ----------------------------------------------------------------------------------


def test_a_fast_replica_gets_more():
    cluster = Cluster.fleet([FAST, SLOW], CONFIG)
    asked = chat(200, rate=12.0)
    whole(asked, cluster.run(asked))
    assert speed_of(cluster.engines[0]) > 1.3 * speed_of(cluster.engines[1])
    assert cluster.routed[0] > 1.2 * cluster.routed[1] > 0


def test_each_cache_is_sized_from_its_own_memory():
    config = replace(CONFIG, num_blocks=None)
    sizes = [e.kv.pool.num_blocks for e in Cluster.fleet([SLOW, SLOW.on("H200")], config).engines]
    assert sizes[1] > 1.8 * sizes[0]


@pytest.mark.parametrize("name", ROUTERS)
def test_a_router_knows_a_replica_by_its_number(name):
    """The second of three dies: the places in the list move up, the numbers stay."""
    router, prompt = make_router(name), list(range(64))
    loads = [Load(tokens=10 * i, running=i, replica=i) for i in range(3)]
    first = router.pick(loads, prompt)
    again = [router.pick([load for load in loads if load.replica != 1], prompt) for _ in range(50)]
    assert first in range(3) and set(again) <= {0, 1}
    if name == "prefix_affinity":
        assert first == 0 and set(again) == {0}
        moved = [Load(replica=7), Load(replica=0)]
        assert router.pick(moved, prompt) == 1, "it goes by the number, not by the place"


def test_least_goes_by_work_over_speed_and_joint_counts_who_waits_four_times():
    loads = [Load(tokens=1000, speed=3.0), Load(tokens=500, speed=1.0)]
    assert make_router("least").pick(loads, [0] * 10) == 0
    assert make_router("joint").pick([Load(1, 2), Load(0, 5)], []) == 1
    assert make_router("joint").pick([Load(1, 2), Load(0, 7)], []) == 0


# -- replicas that die --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("router", ROUTERS)
def test_a_killed_replicas_requests_go_on_elsewhere(router):
    cluster = Cluster.replicas(3, SLOW, CONFIG, router)
    asked = chat(150, rate=20.0)
    cluster.fail(1, when=3.0)
    cluster.fail(0, when=5.0, back=6.0)
    whole(asked, cluster.run(asked))
    assert cluster.gone == {0, 1} and cluster.resumed > 10 and len(cluster.engines) == 4
    assert sum(cluster.routed) == 150 + cluster.resumed and cluster.routed[3] > 0


def test_what_was_sent_before_the_death_is_kept_and_costs_no_second_token():
    cluster = Cluster.replicas(2, SLOW, CONFIG, "round_robin")
    asked = [scripted_request(0, 100, 50), scripted_request(1, 100, 50)]
    calm = Cluster.replicas(1, SLOW, CONFIG).run([scripted_request(0, 100, 50)])[0].token_times
    when = calm[20] + 1e-9  # request 0 has 21 tokens then
    cluster.fail(0, when)
    served = cluster.run(asked)
    whole(asked, served)
    assert served[0].token_times[:21] == pytest.approx(calm[:21]) and served[0].token_times[21] > when
    assert cluster.resumed == 1 and served[0].arrival_time == 0.0
    steps = [r for r in cluster.engines[1].trace if r.num_tokens > 100]
    assert steps, "prompt and 21 tokens are computed again"


def test_a_step_that_ends_after_the_death_is_lost():
    one = Cluster.replicas(1, SLOW, CONFIG)
    first = one.run([scripted_request(0, 400, 2)])[0].token_times[0]
    cluster = Cluster.replicas(2, SLOW, CONFIG, "round_robin")
    cluster.fail(0, when=first / 2)
    served = cluster.run([scripted_request(0, 400, 2)])
    assert served[0].token_times[0] == pytest.approx(first / 2 + first), "it begins at the death, at the other one"


def test_if_all_die_it_is_said():
    cluster = Cluster.replicas(2, SLOW, CONFIG)
    cluster.fail(0, when=1.0)
    cluster.fail(1, when=1.0)
    asked = chat(30, rate=10.0)
    served = cluster.run(asked)
    assert len(served) + len(cluster.refused) == 30 and cluster.refused[-1][1] == "no replica is alive"
    assert all(r.finish_time <= 1.0 for r in served)


def test_a_death_that_cannot_be_is_refused():
    cluster = Cluster.replicas(2, SLOW, CONFIG)
    with pytest.raises(ValueError, match="replica=2: there are 2, from 0 on"):
        cluster.fail(2, when=1.0)
    with pytest.raises(ValueError, match="back=0.5: must not be before it dies, at 1.0"):
        cluster.fail(0, when=1.0, back=0.5)


# -- a request that goes on ---------------------------------------------------------------------------------------


def test_output_so_far_counts_as_output():
    request = Request("a", [1, 2, 3], SamplingParams(max_tokens=5), output_so_far=[7, 8])
    assert (request.num_prompt_tokens, request.num_output_tokens, request.max_num_tokens) == (3, 2, 8)
    assert request.output_token_ids == [7, 8] and not request.is_decode
    with pytest.raises(ValueError, match="request 'a': 8 tokens so far, 8 at most: this text is complete"):
        Request("a", [1, 2, 3], SamplingParams(max_tokens=5), output_so_far=[7] * 5)


def test_a_script_goes_on_where_it_was():
    engine = simulated_engine("llama-7b", enable_prefix_caching=False)
    script = [10, 11, 12, 13, 14, 15]
    request = Request("a", [5] * 4, SamplingParams(max_tokens=6), scripted_output=script, output_so_far=script[:2])
    engine.add_request(request)
    engine.run()
    assert request.output_token_ids == script and len(request.token_times) == 4


# -- prefill and decode apart -------------------------------------------------------------------------------------


def test_one_request_by_hand():
    """Prompt on one side, transfer, the rest on the other: no computing twice, and each part has its price."""
    asked, link, latency = scripted_request(0, 1000, 5), 1e9, 0.25
    cluster = Apart.of([SLOW], [SLOW], replace(CONFIG, max_num_batched_tokens=2048), link=link, latency=latency)
    served = cluster.run([asked])
    whole([asked], served)
    prefill = SLOW.seconds(Work.of([(1000, 0)]))
    transfer = latency + 1000 * SLOW.model.kv_nbytes_per_token / link
    decode = [SLOW.seconds(Work.of([(1, 1000 + i)])) for i in range(4)]
    times, now = [prefill], prefill + transfer
    for seconds in decode:
        now += seconds
        times.append(now)
    assert served[0].token_times == pytest.approx(times)
    assert cluster.sent == 1000 * SLOW.model.kv_nbytes_per_token and cluster.waited == pytest.approx(transfer)
    facts = cluster.facts()
    assert facts["prefill busy, s"] == pytest.approx(prefill) and facts["decode busy, s"] == pytest.approx(sum(decode))


def test_a_link_sends_one_request_at_a_time():
    cluster = Apart.of([SLOW, SLOW], [SLOW], replace(CONFIG, max_num_batched_tokens=4096), "round_robin", link=1e8, latency=0.0)
    served = cluster.run([scripted_request(i, 500, 2) for i in range(4)])
    each = 500 * SLOW.model.kv_nbytes_per_token / 1e8
    gaps = sorted(r.token_times[1] - r.token_times[0] for r in served)
    assert gaps[:2] == pytest.approx([each] * 2, rel=0.2) and gaps[2:] == pytest.approx([2 * each] * 2, rel=0.2)


@pytest.mark.parametrize("router", ROUTERS)
def test_all_is_served_and_no_prompt_delays_a_decode(router):
    asked = chat(150, rate=8.0)
    cluster = Apart.of([SLOW], [SLOW], CONFIG, router)
    served = cluster.run(asked)
    whole(asked, served)
    together = Cluster.replicas(2, SLOW, CONFIG, router).run(chat(150, rate=8.0))
    assert longest_gap(served) < longest_gap(together), "no prompt comes between two tokens"


def longest_gap(served: list[Request]) -> float:
    """Between two tokens of a text, the first one left out: behind it stands the transfer."""
    return max(b - a for r in served for a, b in pairwise(r.token_times[1:]))


@pytest.mark.parametrize("dead", [0, 2])
def test_whichever_side_dies_the_text_goes_on(dead):
    asked = chat(80, rate=10.0)
    cluster = Apart.of([SLOW, SLOW], [SLOW, SLOW], CONFIG)
    cluster.fail(dead, when=4.0, back=6.0)
    whole(asked, cluster.run(asked))
    assert cluster.resumed > 0 and cluster.routed[4] > 0 and (4 in cluster.decodes) == (dead == 2)


def test_a_sender_that_dies_during_a_transfer_loses_it():
    asked = [scripted_request(0, 500, 5)]
    cluster = Apart.of([SLOW, SLOW], [SLOW], CONFIG, link=1e7)  # seconds for one transfer
    cluster.fail(0, when=1.0)
    whole(asked, served := cluster.run(asked))
    assert cluster.sent == pytest.approx(1001 * SLOW.model.kv_nbytes_per_token), "it is computed and sent again"
    assert served[0].token_times[0] < 1.0 < served[0].token_times[1]


def test_a_text_of_one_token_is_never_sent():
    cluster = Apart.of([SLOW], [SLOW], CONFIG)
    served = cluster.run([scripted_request(0, 50, 1), scripted_request(1, 50, 3, max_tokens=1)])
    assert [len(r.token_times) for r in served] == [1, 3]
    assert cluster.sent == 50 * SLOW.model.kv_nbytes_per_token


def test_both_sides_are_needed():
    with pytest.raises(ValueError, match="prefill=1, decode=0: each side needs a replica"):
        Apart.of([SLOW], [], CONFIG)
    with pytest.raises(ValueError, match="link=0"):
        Apart.of([SLOW], [SLOW], CONFIG, link=0)


# -- a promise ----------------------------------------------------------------------------------------------------


def test_the_highest_rate_is_found_in_a_few_runs():
    tried: list[float] = []

    def holds(rate: float) -> bool:
        tried.append(rate)
        return rate <= 5.2

    found = highest_rate(holds, 0.5, 50.0, rounds=8)
    assert len(tried) == 8 and 5.2 / (50 / 0.5) ** (1 / 256) <= found <= 5.2
    assert highest_rate(lambda rate: False, 1.0, 2.0) == 1.0
    with pytest.raises(ValueError, match="low=3, high=2"):
        highest_rate(holds, 3, 2)


def test_the_share_that_keeps_the_promise():
    served = Cluster.replicas(1, SLOW, CONFIG).run(chat(60, rate=30.0))
    shares = [share_good(served, {"ttft": limit, "tpot": 1000}) for limit in (1, 300, 60_000)]
    assert shares[0] == 0 < shares[1] < shares[2] == 1 and share_good([], {"ttft": 1}) == 1
    with pytest.raises(ValueError, match="goodput 'speed'"):
        share_good(served, {"speed": 1})


# -- what one types -----------------------------------------------------------------------------------------------

SHORT = ["simulate", "--workload", "chat", "--num-prompts", "40", "--rate", "8"]


def test_a_mixed_fleet_from_the_command_line(capsys):
    assert main([*SHORT, "--fleet", "2xA100-80G,h100"]) == 0
    out, err = capsys.readouterr()
    assert "2 x A100-80G + 1 x H100" in out and "2 x A100-80G + 1 x H100" in err


def test_prefill_apart_and_a_death_from_the_command_line(capsys):
    assert main([*SHORT, "--prefill", "2", "--replicas", "2", "--fail", "0:2"]) == 0
    out, err = capsys.readouterr()
    assert "2 x A100-80G prefill, 2 x A100-80G decode" in err and "GB sent" in err
    assert main([*SHORT, "--replicas", "2", "--fail", "1:1.5"]) == 0
    assert "requests went on elsewhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--fleet", "3xGPU9"], "gpu='GPU9': the simulator knows"),
        (["--fleet", "0xL4"], "--fleet 0xL4: '0xL4' is no GPU"),
        (["--fleet", "L4,"], "--fleet L4,: '' is no GPU"),
        (["--fail", "1"], "--fail 1: write the replica's number"),
        (["--replicas", "2", "--fail", "2:1"], "replica=2: there are 2"),
        (["--prefill", "-1"], "--prefill -1: must be at least 0"),
        (["--prefill", "1", "--kv-link-gb", "0"], "link=0"),
    ],
)
def test_flags_that_cannot_be(flags, told, capsys):
    assert main([*SHORT, *flags]) != 0
    assert told in capsys.readouterr().err

"""A name is said once: a class and its entry in one list are a new choice, from Python and on the command line."""

from __future__ import annotations

import pytest

from minieng import LLM, SamplingParams
from minieng.cli import main
from minieng.kernels.backend import BACKENDS, Backend
from minieng.parallel.router import ROUTERS, LeastWork
from minieng.scheduler import ADMISSIONS, ORDERS, SCHEDULERS, VICTIMS, ContinuousScheduler
from minieng.scheduler.admission import Admission
from minieng.scheduler.ordering import KeyOrder
from minieng.sim.simulated import simulated_engine

LISTS = {"scheduler": SCHEDULERS, "order": ORDERS, "admission": ADMISSIONS, "victim": VICTIMS}


@pytest.fixture(params=LISTS)
def added(request, monkeypatch):
    """A knob, and a list in which each decision of the new choice "mine" is noted."""
    decisions = []

    class MyScheduler(ContinuousScheduler):
        def plan(self, now):
            decisions.append(now)
            return super().plan(now)

    class LastComeFirst(KeyOrder):
        def key(self, request, now):
            decisions.append(request)
            return -request.arrival_time

    class Anybody(Admission):
        def asks(self, request, n, kv):
            decisions.append(request)
            return n

    def oldest(request):
        decisions.append(request)
        return -request.arrival_time, -request.sequence

    mine = {"scheduler": MyScheduler, "order": LastComeFirst, "admission": Anybody, "victim": oldest}
    monkeypatch.setitem(LISTS[request.param], "mine", mine[request.param])
    return request.param, decisions


def test_a_new_name_works_from_python(added):
    knob, decisions = added
    with LLM.simulated(num_blocks=6, watermark=0.0, **{knob: "mine"}) as llm:
        answers = llm.generate([[1] * 20, [2] * 20, [3] * 20], SamplingParams(max_tokens=40, ignore_eos=True))
        assert llm.trace.total("num_waiting") > 0
    assert decisions and [len(a.outputs[0].token_ids) for a in answers] == [40] * 3


def test_a_new_name_works_on_the_command_line(added, capsys):
    knob, decisions = added
    flags = ["--workload", "uniform_short", "--num-prompts", "12", "--rate", "99", "--num-blocks", "12", "--watermark", "0"]
    assert main(["simulate", *flags, f"--{knob}", "mine"]) == 0 and decisions
    for command in ("simulate", "generate"):
        capsys.readouterr()
        assert main([command, "--help"]) == 0 and f"{{{','.join(LISTS[knob])}}}" in capsys.readouterr().out


def test_a_new_scheduler_is_compared_by_bench(monkeypatch, shape, capsys):
    class Mine(ContinuousScheduler):
        pass

    monkeypatch.setitem(SCHEDULERS, "mine", Mine)
    words = ["--model", str(shape("llama").path), "--num-blocks", "60", "--num-prompts", "2", "--rate", "inf", "--virtual"]
    assert main(["bench", *words]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]] == list(SCHEDULERS)


def test_a_new_router_works_on_the_command_line(monkeypatch, capsys):
    picked = []

    class ToTheLast(LeastWork):
        def pick(self, loads, prompt):
            picked.append(len(loads) - 1)
            return picked[-1]

    monkeypatch.setitem(ROUTERS, "mine", ToTheLast)
    words = ["--workload", "uniform_short", "--num-prompts", "5", "--replicas", "3"]
    assert main(["simulate", *words, "--router", "mine"]) == 0 and picked == [2] * 5
    assert main(["simulate", "--help"]) == 0 and f"{{{','.join(ROUTERS)}}}" in capsys.readouterr().out


def test_a_new_attention_backend_works_from_python_and_on_the_command_line(monkeypatch, shape, capsys):
    attended = []

    def load_mine():
        kernels = BACKENDS["padded"].load()

        def attend(*args):
            attended.append(args)
            return kernels.attend(*args)

        return kernels._replace(attend=attend)

    monkeypatch.setitem(BACKENDS, "mine", Backend("mine", load_mine))
    with shape("llama").llm(num_blocks=60, attention="mine", scheduler="continuous") as llm:
        llm.generate("the cat", SamplingParams(max_tokens=4))
        assert "mine" in llm.explain()
    assert attended
    attended.clear()
    words = ["the cat", "--max-tokens", "4", "--num-blocks", "60", "--model", str(shape("llama").path)]
    assert main(["generate", *words, "--attention", "mine"]) == 0 and attended
    assert main(["generate", "--help"]) == 0 and f"{{auto,{','.join(BACKENDS)}}}" in capsys.readouterr().out


@pytest.mark.parametrize("knob", [*LISTS, "attention"])
def test_an_unknown_name_is_refused_with_those_there_are_before_a_model_is_loaded(knob, monkeypatch):
    said = f"{knob}='nope': choose one of {', '.join(LISTS.get(knob, ('auto', *BACKENDS)))}"
    monkeypatch.setattr("minieng.model.load.load", lambda *_: pytest.fail("a model is loaded"))
    for make in (LLM, LLM.simulated, simulated_engine):
        with pytest.raises(ValueError) as refused:
            make(**{knob: "nope"})
        assert str(refused.value).startswith(said)


@pytest.mark.parametrize("split, said", [
    ({"stages": 10**5}, "stages=100000: must be from 1 to 32, llama-7b has 32 layers"), ({"tensor": 0}, "tensor=0"),
    ({"tensor": 1.5}, "tensor=1.5"), ({"host": float("nan")}, "host=nan"), ({"host": -1.0}, "host=-1.0"),
])  # fmt: skip
def test_a_split_that_no_model_has_is_refused(split, said):
    with pytest.raises(ValueError, match=said):
        LLM.simulated(**split)

"""The comparison of peers: arguments, workload, judgement of disturbed runs, processes, report. Nothing is timed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

psutil = pytest.importorskip("psutil")
import cpu_peers  # noqa: E402
from peers import bounds, host, registry, report, scoring, venvs, workload  # noqa: E402
from peers.burner import Burner  # noqa: E402
from peers.child import Child, Patience, PeerFailed, PeerSkipped, Run, measure, median_seconds  # noqa: E402
from peers.comparison import Benchmark  # noqa: E402

REPO = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.apart  # runs that others disturb are repeated

SMOLLM2 = {
    "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
FAKE_PEER = """#!{python}
import os, sys, time
from peers.protocol import Peer, Skip, serve
mode = os.environ.get("FAKE_MODE", "good")
def load(job):
    if mode == "skip": raise Skip("no such thing here")
    if mode == "fail": raise RuntimeError("it broke")
    print("noise on standard output")
    def generate(requests):
        if mode == "sleep": open(os.environ["FAKE_PID"], "w").write(str(os.getpid())); time.sleep(60)
        return [[0] * (r["max_tokens"] - (mode == "short")) for r in requests]
    return Peer(generate, {{"mode": mode}}, {{"gaps": lambda requests: [[1.0] * r["max_tokens"] for r in requests]}})
serve(load)
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory that looks enough like a model for a workload."""
    place = tmp_path / "model"
    place.mkdir()
    (place / "config.json").write_text(json.dumps(SMOLLM2))
    (place / "tokenizer.json").write_text(json.dumps({"added_tokens": [{"id": i} for i in range(17)]}))
    return place


@pytest.fixture
def fake(tmp_path: Path) -> str:
    """A 'Python' that is a peer: it speaks the protocol and needs no model."""
    script = tmp_path / "fake-peer"
    script.write_text(FAKE_PEER.format(python=sys.executable))
    script.chmod(0o755)
    return str(script)


def child_of(fake: str, tmp_path: Path, mode: str, **env: str) -> Child:
    return Child(fake, "ignored", {"FAKE_MODE": mode, **env}, None, tmp_path / "log")


# -- arguments --------------------------------------------------------------------------------------------


def test_defaults_say_where_the_result_goes():
    args = cpu_peers.parse([])
    assert args.results == REPO / "benchmarks" / "results" and args.workload == ["main"]
    assert report.result_name("main", "float32") == "cpu_peers-float32.json"
    assert report.result_name("long", "bfloat16") == "cpu_peers-bfloat16-long.json"
    assert (args.threads, args.repeats, args.schedulers) == (2, 3, ["chunked", "continuous", "dynamic", "static"])


def test_several_workloads_can_be_named_and_all():
    assert cpu_peers.parse(["--workload", "long", "busy", "long"]).workload == ["long", "busy"]
    assert cpu_peers.parse(["--workload", "all"]).workload == list(workload.WORKLOADS)


def test_the_sitting_names_what_there_is():
    covered = {(args.dtype, name) for args in map(cpu_peers.parse, cpu_peers.SITTING) for name in args.workload}
    assert covered == {("float32", name) for name in workload.WORKLOADS} | {("bfloat16", "main")}
    specs = registry.all_peers(list(registry.SCHEDULERS), True, Path("nowhere"), None)
    assert [s.name for s in registry.select(specs, list(cpu_peers.LADDER)) if s.slow] == list(cpu_peers.LADDER[:3])


def test_quick_runs_once_and_leaves_the_recorded_results_alone():
    args = cpu_peers.parse(["--quick"])
    assert args.repeats == args.slow_repeats == 1 and REPO not in args.results.parents


def test_engine_knobs_become_values():
    args = cpu_peers.parse(["--engine", "max_num_batched_tokens=1024", "order=sjf", "mixed=True"])
    assert args.engine == {"max_num_batched_tokens": 1024, "order": "sjf", "mixed": True}


@pytest.mark.parametrize(
    "argv",
    [
        ["--schedulers", "chunky"],
        ["--dtype", "float8"],
        ["--repeats", "0"],
        ["--engine", "x"],
        ["--max-foreign", "nan"],
        ["--workload", "huge"],
        ["--busy-share", "1.5"],
        ["--slow-repeats", "0"],
        ["--json", "one.json", "--workload", "main", "long"],
    ],
)
def test_wrong_arguments_are_usage_errors(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        cpu_peers.parse(argv)
    assert stop.value.code == 2
    assert argv[0].strip("-").split("-")[0] in capsys.readouterr().err


def test_a_missing_model_directory_is_named(capsys, tmp_path):
    assert cpu_peers.main(["--model-dir", str(tmp_path / "none")]) == 2
    assert "no such directory" in capsys.readouterr().err


def test_only_takes_names_and_patterns(tmp_path):
    specs = registry.all_peers(["chunked", "static"], True, tmp_path, [0, 1])
    assert len({s.name for s in specs}) == len(specs) == 7 + 2 + 2 + 2 + 2
    assert [s.name for s in registry.select(specs, ["minieng-*", "vllm"])] == [
        "minieng-chunked",
        "minieng-static",
        "vllm",
    ]
    with pytest.raises(ValueError, match="no such peer"):
        registry.select(specs, ["tgi"])
    assert [s.name for s in registry.select(specs, [], all_of_it=False)] == [
        "minieng-chunked", "vllm", "openvino", "llama.cpp-bf16", "llama.cpp-q8"]  # fmt: skip


def test_peers_that_are_not_installed_say_how_to_get_them(tmp_path):
    specs = {s.name: s for s in registry.all_peers(["chunked"], False, tmp_path, None)}
    assert "--setup-peers" in specs["vllm"].absent and "--setup-peers" in specs["openvino"].absent
    assert "--setup-peers" in specs["http-vllm"].absent
    assert specs["minieng-chunked"].absent is None and specs["http-minieng"].absent is None


def test_the_cuda_trap_is_avoided():
    for name in ("vllm", "ovx"):
        assert venvs.RECIPES[name][0] == ["torch==2.13.0"], "torch must come first"
        assert "torchvision" in venvs.UNWANTED[name]
    assert not any("torch" in package for step in venvs.RECIPES["ov"] for package in step)


# -- workload ---------------------------------------------------------------------------------------------


def test_the_workload_is_the_same_everywhere(model):
    requests = workload.make(model)
    assert requests == workload.make(model)
    assert sum(len(r["prompt"]) for r in requests) == 4560
    assert sum(r["max_tokens"] for r in requests) == 2277
    assert [len(r["prompt"]) for r in requests[:4]] == [221, 169, 139, 81]


def test_the_workload_keeps_its_ranges_and_leaves_out_specials(model):
    requests = workload.make(model)
    assert all(16 <= len(r["prompt"]) <= 256 and 16 <= r["max_tokens"] <= 128 for r in requests)
    assert all(17 <= token < 49152 for r in requests for token in r["prompt"])


def test_another_seed_is_another_workload(model):
    assert workload.digest(workload.make(model)) != workload.digest(workload.make(model, workload.Lengths(seed=1)))


@pytest.mark.parametrize(
    ("name", "prompt", "output"),
    [("single", (64, 64), (256, 256)), ("long", (1500, 2000), (48, 64)), ("many", (16, 64), (16, 64)),
     ("shared-prefix", (1016, 1064), (16, 64)), ("busy", (16, 256), (16, 128))],
)  # fmt: skip
def test_each_workload_keeps_its_ranges(model, name, prompt, output):
    lengths = workload.WORKLOADS[name]
    requests = workload.make(model, lengths)
    assert len(requests) == lengths.requests
    assert all(prompt[0] <= len(r["prompt"]) <= prompt[1] and output[0] <= r["max_tokens"] <= output[1] for r in requests)
    assert (len({tuple(r["prompt"][:1000]) for r in requests}) == 1) == (name in ("single", "shared-prefix"))
    assert len({tuple(r["prompt"]) for r in requests}) == len(requests)
    assert len(workload.make(model, lengths.quick())) <= 6


def test_a_busy_machine_does_the_main_workload(model):
    assert workload.make(model, workload.WORKLOADS["busy"]) == workload.make(model)


def test_a_broken_config_is_named(model):
    (model / "config.json").write_text("{")
    with pytest.raises(workload.BadModel, match=r"config\.json"):
        workload.make(model)


# -- disturbed runs ---------------------------------------------------------------------------------------


def runs_of(shares: list[float], repeats: int = 3, retries: int = 3):
    """``measure`` on runs during which others used these shares of the CPUs; the first takes 1 s, the next 2 s, ..."""
    feed = iter(enumerate(shares, 1))

    def run_once():
        seconds, foreign = next(feed)
        return Run(float(seconds), [], host.Load(foreign, 0.0, 1.0, float(seconds)), foreign > 0.05)

    return measure(run_once, Patience(repeats, retries))


def test_quiet_runs_all_count():
    runs, marked = runs_of([0.0, 0.05, 0.01])
    assert not marked and [r.used for r in runs] == [True] * 3 and median_seconds(runs) == 2


def test_disturbed_runs_are_discarded_and_repeated_but_kept_on_record():
    runs, marked = runs_of([0.5, 0.0, 0.06, 0.0, 0.0])
    assert not marked and [r.used for r in runs] == [False, True, False, True, True] and median_seconds(runs) == 4


def test_too_few_quiet_runs_are_marked():
    runs, marked = runs_of([0.5, 0.5, 0.0, 0.5, 0.5, 0.5])
    assert marked and len(runs) == 6 and [r.used for r in runs].count(True) == 1 and median_seconds(runs) == 3


def test_with_no_quiet_run_at_all_the_figure_is_marked():
    runs, marked = runs_of([0.5] * 6)
    assert marked and all(r.used and r.disturbed for r in runs)
    row = report.measured_row("x", "x", runs, marked, 100)
    assert row["status"] == "disturbed" and "*" in report.cells(row)[1] and "DISTURBED" in report.cells(row)[-1]


def test_shares_are_what_others_did_of_all_time():
    load = host.share(busy=3.0, steal=0.5, own=2.0, wall=2.0, cpus=2)
    assert (load.foreign, load.steal, load.own) == (0.25, 0.125, 0.5)
    assert host.share(busy=1.0, steal=0.0, own=1.01, wall=1.0, cpus=2).foreign == 0.0


def test_a_burner_takes_its_share_and_ends():
    watch = host.Watch(None)
    with Burner(1.0 / watch.number, None) as burner:
        pids = [process.pid for process in burner.processes]
        assert burner.loads == [1.0] and all(map(psutil.pid_exists, pids))
        watch.lap()
        before, end = burner.cpu_seconds(), time.monotonic() + 30
        while burner.cpu_seconds() - before < 0.3 and time.monotonic() < end:
            time.sleep(0.05)
        assert burner.cpu_seconds() - before >= 0.3 and watch.lap().own > 0, "its work is our own, not others'"
    assert not any(map(psutil.pid_exists, pids))
    assert Burner(0.75, [0, 1]).loads == [1.0, 0.5] and Burner(0.0, [0, 1]).loads == []


def test_a_burner_that_died_is_no_busy_machine():
    with pytest.raises(RuntimeError, match="ended by itself"), Burner(0.5, [0]) as burner:
        burner.processes[0].kill()
        burner.processes[0].wait()
        burner.cpu_seconds()


def test_own_work_is_not_foreign():
    watch = host.Watch(None)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        pass
    load = watch.lap()
    assert load.own > 0 and load.wall_s >= 0.3


def test_cpu_lists_read_as_vllm_wants_them():
    assert [host.cpu_list(c) for c in ([0, 1], [0, 2], [3])] == ["0-1", "0,2", "3"]


# -- scores, bounds, report -------------------------------------------------------------------------------


def test_equality_counts_up_to_the_first_difference():
    score = scoring.equality([[1, 2, 3], [4, 5]], [[1, 9, 3], [4, 5]], [[1.0, 5e-5, 1.0], [1.0, 1.0]])
    assert (score["requests_equal"], score["tokens_equal"], score["tokens"], score["ties"]) == (1, 3, 5, 1)
    assert score["first_divergence"] == {
        "request": 0, "position": 1, "expected": 2, "got": 9, "reference_logit_gap": 5e-5,
    }  # fmt: skip


def test_answers_of_the_wrong_length_are_refused():
    requests = [{"prompt": [1], "max_tokens": 2}]
    assert scoring.check_lengths(requests, [[1, 2]]) is None
    assert "1 tokens" in scoring.check_lengths(requests, [[1]])
    assert "0 answers" in scoring.check_lengths(requests, [])


def test_the_bound_follows_from_the_shapes(model):
    shapes = bounds.Shapes.of(SMOLLM2)
    assert shapes.linear_weights + shapes.head_weights == 134_479_872  # SmolLM2-135M without its norms
    ceilings = {"gemm_gflops": 470.0, "copy_gb_s": 47.0}
    bound = bounds.ideal(shapes, workload.make(model), 4, ceilings)
    assert bound["gemm_s"] == pytest.approx(bound["tflop"] * 1e3 / 470) and bound["fewest_steps"] == 128
    assert 1.5 < bound["tflop"] < 2.0 and "arithmetic bounds" in bounds.sentence(bound, ceilings, None)
    assert bounds.Shapes.of({"model_type": "gpt2"}) is None


def test_tables_by_rows_are_read_between_and_beyond():
    table = {"1": 2.0, "8": 2.0, "32": 5.0}
    assert [bounds.at(table, n) for n in (0, 1, 20, 32, 64)] == [2.0, 2.0, 3.5, 5.0, 10.0]


def test_ratios_are_ours_to_every_peer():
    rows = [{"name": "minieng-chunked", "tokens_per_s": 300.0}, {"name": "a", "tokens_per_s": 100.0}, {"name": "b"}]
    report.add_ratios(rows, "minieng-chunked")
    assert [r["ours_is_times_as_fast"] for r in rows] == [1.0, 3.0, None]


# -- processes --------------------------------------------------------------------------------------------


def test_a_child_answers_and_its_noise_stays_out(fake, tmp_path):
    with child_of(fake, tmp_path, "good") as child:
        ready = child.ask(json.dumps({"workloads": {"main": [{"prompt": [1], "max_tokens": 3}]}}), 30)
        assert ready["settings"] == {"mode": "good", "warm_up_requests": 1} and "python" in ready["versions"]
        child.rest()
        end = time.monotonic() + 30  # a signal reaches a process a moment after it was sent
        while psutil.Process(child.process.pid).status() != psutil.STATUS_STOPPED:
            assert time.monotonic() < end, "it was not stopped"
            time.sleep(0.01)
        with child.turn():
            assert child.ask("run main", 30)["tokens"] == [[0, 0, 0]]
    assert child.process.returncode == 0 and "noise" in (tmp_path / "log").read_text()


def test_skips_and_failures_carry_their_reason(fake, tmp_path):
    with pytest.raises(PeerSkipped, match="no such thing here"), child_of(fake, tmp_path, "skip") as child:
        child.ask(json.dumps({"workloads": {}}), 30)
    with pytest.raises(PeerFailed, match="RuntimeError: it broke"), child_of(fake, tmp_path, "fail") as child:
        child.ask(json.dumps({"workloads": {}}), 30)


def test_a_whole_report(fake, model, tmp_path, monkeypatch, capsys):
    """From arguments to JSON with a fake peer in every place: schema, skip, wrong answers, turns, two workloads."""
    monkeypatch.setenv("MINIENG_HOME", str(tmp_path / "home"))
    argv = ["--quick", "--threads", "1", "--retries", "0", "--no-ceilings", "--workload", "main", "busy"]
    args = cpu_peers.parse([*argv, "--results", str(tmp_path)])
    args.argv = ["--quick"]
    bench = Benchmark(args, model)
    modes = {"transformers-1": "good", "vllm": "skip", "openvino-like": "short", "minieng-dynamic": "good"}
    specs = [registry.Spec(n, n, "ignored", {}, fake, {"FAKE_MODE": mode}) for n, mode in modes.items()]
    specs.append(registry.Spec("absent", "absent", "ignored", {}, fake, {}, "not installed"))
    specs += [registry.Spec(n, n, "ignored", {}, fake, {"FAKE_MODE": m}, in_turns=True)
              for n, m in {"one": "good", "two": "good", "three": "fail", "four": "short"}.items()]  # fmt: skip
    for sheet in bench.sheets:
        sheet.specs = specs
    assert bench.run() == 1, "an answer of the wrong length is a failure"
    made = json.loads((tmp_path / "cpu_peers-float32.json").read_text())
    assert {"schema", "date", "command", "device", "versions", "model", "workload", "settings", "peers"} <= made.keys()
    assert made["complete"] and made["command"].endswith("cpu_peers.py --quick") and made["settings"]["max_foreign"] == 0.05
    rows = {row["name"]: row for row in made["peers"]}
    assert list(rows) == [spec.name for spec in specs]
    assert [rows[n]["status"] for n in ("vllm", "openvino-like", "absent", "three", "four")] == [
        "skipped", "failed", "skipped", "failed", "failed"]  # fmt: skip
    for good in (rows["minieng-dynamic"], rows["one"], rows["two"]):
        assert good["equality"]["requests_equal"] == 6 and good["tokens_per_s"] > 0
        assert {"seconds", "others_cpu_share", "disturbed", "used"} <= good["runs"][0].keys()
    busy = json.loads((tmp_path / "cpu_peers-float32-busy.json").read_text())
    assert busy["workload"]["burner_share_of_cpus"] == 0.5 and "burner_cpu_share" in busy["peers"][-3]["runs"][0]
    printed = capsys.readouterr().out
    assert all(name in printed for name in rows) and str(tmp_path / "cpu_peers-float32-busy.json") in printed


def recorded(name: str, **seconds: float) -> dict:
    """A report with these rows, as it is read from a file."""
    equal = {"tokens_equal": 9, "tokens": 10}
    rows = [{"name": n.replace("_", "-"), "seconds": s, "status": "ok", "equality": equal} for n, s in seconds.items()]
    work = {"name": name, "requests": 2, "prompt_lengths": "uniform 8–24", "output_lengths": "4"}
    return {"workload": work, "settings": {"dtype": "float32"}, "peers": rows}


def test_the_readmes_table_has_the_best_peer_of_each_workload(tmp_path):
    made = recorded("long", minieng_chunked=2.0, minieng_static=1.0, transformers_1=1.5, vllm=5.0, openvino=3.0)
    made["workload"]["burner_share_of_cpus"], made["peers"][4]["status"] = 0.5, "disturbed"
    report.save(made, tmp_path / "cpu_peers-float32-long.json")
    report.save(recorded("main", vllm=5.0), tmp_path / "cpu_peers-float32.json")
    table = report.ratios_table(report.load_reports(tmp_path, ("float32",), ("main", "long")), registry.OURS).splitlines()
    assert table[2:] == [
        "| 2 requests, 8–24 in, 4 out, another process on 50% of the cores | fp32 | 2.0 s | openvino | 3.0 s* | 1.50× | 9 of 10 |"
    ]


RECORDED = Path(report.__file__).parents[1] / "results"


@pytest.mark.parametrize("folder, ceilings", [(RECORDED, False), (RECORDED / "zen4", True)])
def test_the_tables_of_all_engines_say_what_was_recorded(folder, ceilings):
    """Seconds, ratios and, where they are told, the products' least time and their share of the engine's."""
    lines = (RECORDED.parent / "README.md").read_text(encoding="utf-8").splitlines()
    for made in report.load_reports(folder, ("float32", "bfloat16"), tuple(workload.WORKLOADS)):
        rows = {row["name"]: row["seconds"] for row in made["peers"] if row.get("seconds")}
        ours, bound, name = rows[registry.OURS], made["bound"], made["workload"]["name"]
        others = [f"{rows[peer]:.1f} s, {rows[peer] / ours:.2f}×" for peer in ("vllm", "openvino")]
        told = [f"{name}, {report.PRECISIONS[made['settings']['dtype']]}", f"{ours:.1f} s", *others]
        found = [cells for line in lines if (cells := [c.strip() for c in line.strip("|").split("|")])[: len(told)] == told]
        assert len(found) == 1, told
        if ceilings:
            share = bound["engine"]["linears_s"] / bound["engine"]["seconds"]
            assert found[0][4] in ("", f"{bound['gemm_s']:.1f} s") and found[0][5] in ("", f"{share:.0%}".replace("%", " %"))


def test_the_readmes_table_is_what_the_command_prints():
    reports = report.load_reports(RECORDED, ("float32", "bfloat16"), tuple(workload.WORKLOADS))
    assert report.ratios_table(reports, registry.OURS) in (RECORDED.parents[1] / "README.md").read_text(encoding="utf-8")


def test_a_report_names_no_folder_of_this_machine(tmp_path):
    made = {"command": f"--peers-dir {tmp_path / 'peers'}", "model": f"{Path.home() / '.cache'}", "other": f"{tmp_path}/peers-2"}
    report.save(made, tmp_path / "made.json", {tmp_path / "peers": "DIR", Path.home(): "~"})
    assert json.loads((tmp_path / "made.json").read_text()) == made | {"command": "--peers-dir DIR", "model": "~/.cache"}
    told = {file.name: file.read_text(encoding="utf-8") for file in RECORDED.rglob("*.json")}
    assert [name for name, text in told.items() if re.search(r"(/tmp|/root|/home|/Users|/work)/", text)] == []


def test_ctrl_c_leaves_no_process_behind(fake, model, tmp_path):
    pid_file = tmp_path / "pid"
    driver = (
        "import sys; from pathlib import Path\n"
        f"sys.path.insert(0, {str(REPO / 'benchmarks')!r}); import cpu_peers\n"
        "from peers import registry\n"
        f"spec = registry.Spec('transformers-1', 'x', 'ignored', {{}}, {fake!r}, {{'FAKE_MODE': 'sleep'}})\n"
        "registry.all_peers = lambda *a: [spec]\n"
        f"sys.exit(cpu_peers.main(['--quick', '--model-dir', {str(model)!r}, '--threads', '1', '--no-ceilings']))\n"
    )
    env = {**os.environ, "FAKE_PID": str(pid_file), "MINIENG_HOME": str(tmp_path / "home")}
    parent = subprocess.Popen([sys.executable, "-c", driver], env=env, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    parent.send_signal(signal.SIGINT)
    _, err = parent.communicate(timeout=60)
    assert parent.returncode == 130 and "interrupted" in err
    assert not psutil.pid_exists(int(pid_file.read_text()))


@pytest.mark.slow
def test_the_real_runners_work_on_the_tiny_model(tmp_path):
    """minieng and transformers for once as they are run in earnest, on half a million parameters."""
    pytest.importorskip("torch")
    from minieng.model import resolve

    try:
        resolve("tiny")
    except Exception as error:  # any reason will do: there is nothing to run
        pytest.skip(f"no tiny model: {error}")
    out = tmp_path / "out.json"
    command = [sys.executable, str(REPO / "benchmarks" / "cpu_peers.py"), "--quick", "--json", str(out),
               "--retries", "0", "--threads", "1", "--only", "minieng-chunked", "transformers-continuous"]  # fmt: skip
    env = {**os.environ, "MINIENG_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    made = json.loads(out.read_text())
    for row in made["peers"]:
        same = row["equality"]
        assert same["requests_equal"] + same["ties"] == same["requests"] == 6, row
    assert made["ceilings"]["gemm_gflops"] > 0 and "minieng-chunked takes" in made["bound"]["sentence"]

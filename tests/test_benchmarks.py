"""The comparison of peers: arguments, workload, judgement of disturbed runs, processes, report. Nothing is timed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

psutil = pytest.importorskip("psutil")
import cpu_peers  # noqa: E402
from peers import bounds, host, registry, report, scoring, venvs, workload  # noqa: E402
from peers.child import Child, Patience, PeerFailed, PeerSkipped, measure, median_seconds  # noqa: E402
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
    return Peer(generate, {{"mode": mode}}, {{"gaps": lambda: [[1.0] * r["max_tokens"] for r in job["requests"]]}})
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
    assert args.json == REPO / "benchmarks" / "results" / "cpu_peers-float32.json"
    assert (args.threads, args.repeats, args.schedulers) == (2, 3, ["chunked", "continuous", "dynamic", "static"])
    assert cpu_peers.parse(["--dtype", "bfloat16"]).json.name == "cpu_peers-bfloat16.json"


def test_quick_runs_once_and_leaves_the_recorded_results_alone():
    args = cpu_peers.parse(["--quick"])
    assert args.repeats == 1 and "results" not in args.json.parts


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
    assert len({s.name for s in specs}) == len(specs) == 7 + 2 + 2 + 2
    assert [s.name for s in registry.select(specs, ["minieng-*", "vllm"])] == [
        "minieng-chunked",
        "minieng-static",
        "vllm",
    ]
    with pytest.raises(ValueError, match="no such peer"):
        registry.select(specs, ["tgi"])


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
        return float(seconds), [], host.Load(foreign, 0.0, 1.0, float(seconds))

    return measure(run_once, Patience(repeats, retries, max_foreign=0.05))


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
        ready = child.ask(json.dumps({"requests": [{"prompt": [1], "max_tokens": 3}]}), 30)
        assert ready["settings"] == {"mode": "good", "warm_up_requests": 1} and "python" in ready["versions"]
        assert child.ask("run", 30)["tokens"] == [[0, 0, 0]]
    assert child.process.returncode == 0 and "noise" in (tmp_path / "log").read_text()


def test_skips_and_failures_carry_their_reason(fake, tmp_path):
    with pytest.raises(PeerSkipped, match="no such thing here"), child_of(fake, tmp_path, "skip") as child:
        child.ask(json.dumps({"requests": []}), 30)
    with pytest.raises(PeerFailed, match="RuntimeError: it broke"), child_of(fake, tmp_path, "fail") as child:
        child.ask(json.dumps({"requests": []}), 30)


def test_a_whole_report(fake, model, tmp_path, monkeypatch, capsys):
    """From arguments to JSON with a fake peer in every place: schema, skip, wrong answers, ratios."""
    monkeypatch.setenv("MINIENG_HOME", str(tmp_path / "home"))
    out = tmp_path / "out.json"
    args = cpu_peers.parse(["--quick", "--json", str(out), "--threads", "1", "--retries", "0", "--no-ceilings"])
    args.argv = ["--quick"]
    bench = Benchmark(args, model)
    modes = {"transformers-1": "good", "vllm": "skip", "openvino-like": "short", "other": "good"}
    bench.specs = [registry.Spec(n, n, "ignored", {}, fake, {"FAKE_MODE": mode}) for n, mode in modes.items()]
    bench.specs.append(registry.Spec("absent", "absent", "ignored", {}, fake, {}, "not installed"))
    assert bench.run() == 1, "an answer of the wrong length is a failure"
    made = json.loads(out.read_text())
    assert {"schema", "date", "command", "device", "versions", "model", "workload", "settings", "peers"} <= made.keys()
    assert made["complete"] and made["command"].endswith("cpu_peers.py --quick") and made["settings"]["max_foreign"] == 0.05
    rows = {row["name"]: row for row in made["peers"]}
    assert [rows[n]["status"] for n in ("vllm", "openvino-like", "absent")] == ["skipped", "failed", "skipped"]
    good = rows["other"]
    assert good["equality"]["requests_equal"] == 6 and good["tokens_per_s"] > 0
    assert {"seconds", "others_cpu_share", "disturbed", "used"} <= good["runs"][0].keys()
    printed = capsys.readouterr().out
    assert all(name in printed for name in rows) and str(out) in printed


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

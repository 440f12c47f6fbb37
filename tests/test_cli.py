"""The command line as a script meets it: what is printed where, exit codes, and no traceback for a user's mistake."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys

import pytest

from minieng import SamplingParams
from minieng.cli import LISTS, NO_FLAG, choices_of, main, make_parser
from minieng.commands import given, read_prompts
from minieng.config import EngineConfig
from minieng.save import writable
from minieng.scheduler import SCHEDULERS
from minieng.server.settings import ServerConfig

COMMANDS = ("generate", "bench", "simulate", "show", "doctor", "fetch")
PYTHON = [sys.executable, "-m", "minieng"]


@pytest.fixture
def cli(shape, capsys):
    """cli("generate", "hi") → (exit code, stdout, stderr), on a small random model."""

    def call(command, *words):
        model = [] if command in ("fetch", "simulate") else ["--model", str(shape("llama").path)]
        blocks = ["--num-blocks", "60"] if command in ("generate", "bench") and "--num-blocks" not in words else []
        code = main([command, *words, *model, *blocks])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def llm(shape):
    with shape("llama").llm(num_blocks=60) as llm:
        yield llm


# -- generate -----------------------------------------------------------------------------------------------------


def test_one_prompt_gives_its_text_and_nothing_else(cli, llm):
    text = llm.generate("the cat", SamplingParams(max_tokens=12))[0].outputs[0].text
    assert cli("generate", "the cat", "--max-tokens", "12")[:2] == (0, text + "\n")


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_several_prompts_come_as_blocks_in_their_order(cli, llm, scheduler):
    prompts, params = ["the cat", "dog", "on the\nmat and"], SamplingParams(max_tokens=9, n=2, temperature=1.0, seed=3)
    outputs = llm.generate(prompts, params, request_ids=["0", "1", "2"])
    blocks = [
        f"=== {i + 1} of 3, text {completion.index + 1} of 2: {' '.join(prompt.split())}\n{completion.text}\n"
        for i, (prompt, output) in enumerate(zip(prompts, outputs, strict=True))
        for completion in output.outputs
    ]
    flags = ["--max_tokens=9", "--n", "2", "--temperature=1", "--seed-per-request", "3", "--batch-size", "2"]
    code, out, _ = cli("generate", *prompts, *flags, "--scheduler", scheduler)
    assert (code, out) == (0, "\n".join(blocks))


def test_text_is_printed_as_it_comes(cli, monkeypatch):
    """Each write to stdout is noted: a text of many tokens must come in many pieces."""
    pieces = []

    class Screen(io.StringIO):
        def write(self, text):
            pieces.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stdout", Screen())
    cli("generate", "the cat", "--max-tokens", "30", "--ignore-eos")
    assert sum(map(bool, pieces)) > 10


def test_json_has_one_object_a_prompt(cli, llm):
    code, out, _ = cli("generate", "a", "b", "--max-tokens", "3", "--logprobs", "2", "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    wanted = llm.generate(["a", "b"], SamplingParams(max_tokens=3))
    assert code == 0 and [a["prompt"] for a in answers] == ["a", "b"]
    assert [a["outputs"][0]["token_ids"] for a in answers] == [w.outputs[0].token_ids for w in wanted]
    assert len(answers[0]["outputs"][0]["logprobs"]) == 3 and answers[0]["metrics"]["finish_time"] > 0


def test_prompts_are_read_from_stdin_a_line_each(cli, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n\n two \n"))
    _, out, _ = cli("generate", "-", "three", "--max-tokens", "2", "--json")
    assert [json.loads(line)["prompt"] for line in out.splitlines()] == ["one", " two ", "three"]


def test_stop_and_stop_token_ids_may_be_given_several_times(cli, llm):
    tokens = llm.generate("the cat", SamplingParams(max_tokens=20))[0].outputs[0].token_ids
    stops = [f"--stop-token-ids={token}" for token in tokens[3:5]]
    _, out, _ = cli("generate", "the cat", "--json", *stops, "--stop", "\x00", "--stop", "\x01")
    answer = json.loads(out)["outputs"][0]
    assert answer["finish_reason"] == "stop" and answer["token_ids"][-1] in tokens[3:5]


# -- bench --------------------------------------------------------------------------------------------------------


def test_bench_prints_a_table_and_saves_what_it_measured(cli, tmp_path):
    file = tmp_path / "result.json"
    code, out, err = cli("bench", "--workload", "uniform_short", "--num-prompts", "5", "--rate", "200",
                         "--goodput", "ttft:1e9", "tpot:1e9", "--json", str(file))  # fmt: skip
    assert code == 0 and [line.split()[0] for line in out.splitlines()[1:]] == ["scheduler", *SCHEDULERS]
    assert "uniform_short: 5 requests" in err
    saved = json.loads(file.read_text())
    assert saved["request_rate"] == pytest.approx(200) and saved["machine"]["attention"]["backend"]
    for name, result in zip(SCHEDULERS, saved["results"], strict=True):
        assert (result["name"], result["completed"]) == (name, 5)
        assert result["request_goodput"] == pytest.approx(result["request_throughput"])


def test_bench_takes_a_trace_in_virtual_time_and_reports_refusals(cli, tmp_path):
    trace = tmp_path / "t.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0,5,3\n1e6,500,3\n2e6,5,3\n")
    code, out, err = cli("bench", "--workload", str(trace), "--schedulers", "chunked", "--virtual")
    assert code == 0 and out.splitlines()[2].split()[:3] == ["chunked", "2", "1"]
    assert "chunked: 1 refused" in err and "503 tokens" in err
    code, out, _ = cli("bench", "--workload", str(trace), "--length-scale", "0.1", "--schedulers=static", "--rate=inf")
    assert code == 0 and out.splitlines()[2].split()[:2] == ["static", "3"]


def test_a_bench_of_which_nothing_completes_has_failed(cli):
    assert cli("bench", "--num-prompts", "2", "--rate", "inf", "--num-blocks", "1", "--schedulers", "chunked")[0] == 1


# -- doctor, fetch, help ------------------------------------------------------------------------------------------


def test_doctor_says_what_is_here_and_what_is_wrong(cli, capsys):
    code, out, _ = cli("doctor", "--json")
    found = json.loads(out)
    assert code == 0 and found["problems"] == [] and found["packages"]["torch"]
    assert found["device"]["dtype"] and found["attention"]["why"] and "tiny" in found["models"]
    code, out, _ = cli("doctor")
    assert code == 0 and all(word in out for word in ("torch", "dtype", "attention", "C compiler", "cache"))
    assert main(["doctor", "--model", "/no/such/model"]) == 1
    assert "PROBLEM" in capsys.readouterr().out


def test_fetch_prints_the_directory(cli, shape):
    path = str(shape("llama").path)
    assert cli("fetch", path)[:2] == (0, path + "\n")


def test_simulate_prints_a_table_and_saves_what_it_counted(capsys, tmp_path):
    saved = tmp_path / "out.json"
    words = ["--model", "llama-3-8b", "--gpu", "A100-80G", "--replicas", "2", "--router", "round_robin", "--num-prompts", "30"]
    words += ["--workload", "ladder", "--rate", "20", "--scheduler", "chunked", "--goodput", "ttft:200", "--json", str(saved)]
    assert main(["simulate", *words]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].split()[:5] == ["2", "x", "A100-80G", "30", out.splitlines()[-1].split()[4]]
    assert "ladder: 30 requests" in err and "at most 256 requests" in err
    values = json.loads(saved.read_text())
    assert values["completed"] == 30 and 0 < values["request_goodput"] <= values["request_throughput"]
    assert main(["simulate", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "most requests that run at once (default: 256)" in shown and "(default: the model's own)" in shown


def test_help_has_every_flag_with_its_default_and_an_example(capsys):
    for command in COMMANDS:
        assert main([command, "--help"]) == 0
        text = " ".join(capsys.readouterr().out.split())
        assert f"minieng {command}" in text.split("examples:")[1] and "exit codes" in text
    main(["generate", "--help"])
    text = capsys.readouterr().out
    for field in (*dataclasses.fields(EngineConfig), *dataclasses.fields(SamplingParams)):
        assert field.name in NO_FLAG or f"--{field.name.replace('_', '-')} " in text.replace(",", " "), field.name


def test_flags_reach_the_dataclasses():
    words = ["x", "--no-enable-prefix-caching", "--mixed", "--swap_space_gb=2.5", "--num-blocks", "7", "--seed", "4",
             "--order", "sjf", "--seed-per-request", "9", "--stop", "a", "--stop-token-ids", "5"]  # fmt: skip
    args = make_parser().parse_args([word.replace("_", "-") for word in ["generate", *words]])
    engine = {"enable_prefix_caching": False, "mixed": True, "swap_space_gb": 2.5, "num_blocks": 7, "seed": 4}
    engine["order"] = "sjf"
    assert given(args, EngineConfig) == engine
    assert given(args, SamplingParams, seed="seed_per_request") == {"seed": 9, "stop": ["a"], "stop_token_ids": [5]}


def test_every_list_of_names_is_the_flags_choice_and_holds_the_default():
    for field in (*dataclasses.fields(EngineConfig), *dataclasses.fields(ServerConfig)):
        if field.name in LISTS:
            assert set(choices_of(field)) == {*LISTS[field.name], field.default} - {None}
    assert {"scheduler", "order", "admission", "victim", "attention", "router"} == set(LISTS)


def test_help_and_version_are_quick_because_nothing_heavy_is_imported():
    code = "import sys; from minieng.cli import main; main(['--version']); main(['bench', '--help']); " \
           "sys.exit(sum(name in sys.modules for name in ('torch', 'numpy', 'transformers')))"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("minieng ")


# -- mistakes -----------------------------------------------------------------------------------------------------

WRONG = [
    ("temperature", "generate", "x", "--temperature", "-1"),
    ("max_num_seqs", "generate", "x", "--max-num-seqs", "0"),
    ("num_blocks", "generate", "x", "--num-blocks", "1", "--max-tokens", "90"),
    ("empty", "generate", ""),
    ("shorten the prompt", "generate", "x " * 999),
    ("lone surrogate", "generate", "\ud800"),
    ("chat template", "generate", "x", "--chat"),
    ("--max-tokens", "generate", "x", "--max-tokens", "many"),
    ("--scheduler", "generate", "x", "--scheduler", "best"),
    ("--max-tok", "generate", "x", "--max-tok", "4"),
    ("PROMPT", "generate"),
    ("choose ladder, uniform_short", "bench", "--workload", "nope"),
    ("cannot read", "bench", "--workload", "nope.csv"),
    ("above 0", "bench", "--rate", "0"),
    ("at least one", "bench", "--num-prompts", "0"),
    ("'best'", "bench", "--schedulers", "static,best"),
    ("itl", "bench", "--goodput", "itl:4"),
    ("no directory", "bench", "--json", "/no/such/directory/x.json"),
    ("Is a directory", "bench", "--json", "/"),
    ("there is no directory", "bench", "--json", f"{__file__}/x.json"),
    ("File name too long", "simulate", "--json", "x" * 300),
    ("Is a directory", "simulate", "--paper", "vllm", "--json", "/"),
    ("n=100000: must be at most", "generate", "x", "--n", "100000"),
    ("num_blocks=1000000000: must be at most", "generate", "x", "--num-blocks", "1000000000"),
    ("GiB of KV", "generate", "x", "--num-blocks", "10000000", "--block-size", "4096"),
    ("temperature=nan", "generate", "x", "--temperature", "nan"),
    ("max_num_seqs=2**3321 or more", "generate", "x", "--max-num-seqs", "9" * 1000),
    ("swap_space_gb=inf: must be at most", "generate", "x", "--preemption", "swap", "--swap-space-gb", "inf"),
    ("wait_window=inf", "bench", "--wait-window", "inf"),
    ("1,000,000 jobs", "bench", "--num-prompts", "1000000000"),
    ("rate=1e-300", "bench", "--rate", "1e-300"),
    ("rate=nan", "bench", "--rate", "nan"),
    ("burstiness=nan", "bench", "--burstiness", "nan"),
    ("factor=nan", "bench", "--length-scale", "nan"),
    ("factor=1e+308", "bench", "--length-scale", "1e308"),
    ("50,000,000 are drawn", "bench", "--length-scale", "30000", "--max-model-len", "64"),
    ("ttft:inf", "bench", "--goodput", "ttft:inf"),
    ("host=nan", "simulate", "--host-ms", "nan"),
    ("host=inf", "simulate", "--host-ms", "inf"),
    ("host=-0.001", "simulate", "--host-ms", "-1"),
    ("tensor=100000: must be from 1 to 32, llama-3-8b has 32 heads", "simulate", "--tensor", "100000"),
    ("stages=100000: must be from 1 to 32, llama-3-8b has 32 layers", "simulate", "--stages", "100000"),
    ("replicas=100000: at most", "simulate", "--replicas", "100000"),
    ("num_blocks=1000000000: must be at most", "simulate", "--num-blocks", "1000000000"),
    ("at most 10,000,000 can be counted", "simulate", "--gpu", "H200", "--tensor", "32", "--block-size", "1"),
    ("1,000,000 jobs", "simulate", "--num-prompts", "1000000000"),
    ("rate=0.0", "simulate", "--rate", "0"),
    ("rate=1e-300", "simulate", "--rate", "1e-300"),
    ("no model 'nope'", "fetch", "nope"),
    ("the simulator knows", "simulate", "--gpu", "A1"),
    ("--replicas 0", "simulate", "--replicas", "0"),
    ("choose among ttft", "simulate", "--goodput", "itl:4"),
    ("--paper", "simulate", "--paper", "bert"),
]


@pytest.mark.parametrize(("said", "words"), [(said, words) for said, *words in WRONG], ids=[w[0] for w in WRONG])
def test_a_mistake_is_one_line_and_code_2(cli, said, words):
    code, out, err = cli(*words)
    assert (code, out) == (2, "") and said in err and "Traceback" not in err
    assert len([line for line in err.splitlines() if "error:" in line]) == 1 and len(err.splitlines()) <= 3


def test_no_command_and_an_empty_stdin_are_mistakes_too(cli, monkeypatch, capsys):
    assert main([]) == 2 and "COMMAND" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    code, _, err = cli("generate", "-")
    assert code == 2 and "no prompt on stdin" in err


@pytest.mark.parametrize("data, prompts", [
    ("\ufeffone\r\ntwo\u2028still two\r\n".encode(), ["one", "two\u2028still two"]),
    ("one\r\ntwo\r\n".encode("utf-16"), ["one", "two"]),
    ("ünd\n\n \n".encode(), ["ünd"]),
], ids=["utf-8 with a mark", "utf-16", "utf-8"])  # fmt: skip
def test_prompts_on_stdin_may_begin_with_a_byte_order_mark(monkeypatch, data, prompts):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
    assert list(read_prompts(["-"])) == prompts


def test_stdin_that_is_closed_or_no_text_is_a_mistake(cli, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    code, _, err = cli("generate", "-")
    assert code == 2 and "no prompt on stdin" in err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"gr\xfcn\n"), encoding="utf-8"))
    code, _, err = cli("generate", "-")
    assert code == 2 and "stdin is no text in utf-8 (at byte 2): save the prompts as UTF-8" in err


def test_the_place_for_a_file_is_tried_and_left_as_it_was(tmp_path):
    file, new = tmp_path / "there.json", tmp_path / "new.json"
    file.write_text("kept")
    assert [writable(str(place)) for place in (file, new)] == [file, new] and str(writable(os.devnull)) == os.devnull
    assert file.read_text() == "kept" and not new.exists()


def test_a_closed_stdout_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["simulate", "--workload", "uniform_short", "--num-prompts", "2"]) == 0


def test_python_without_docstrings_is_told_to_the_user(tmp_path):
    """At a model's first load, which asks transformers: that one does not work without them."""
    done = subprocess.run([*PYTHON, "generate", "x", "--model", "tiny"], capture_output=True, text=True,
                          env={**os.environ, "PYTHONOPTIMIZE": "2", "MINIENG_HOME": str(tmp_path)})  # fmt: skip
    assert done.returncode == 1 and "PYTHONOPTIMIZE=2" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_run_that_fails_has_code_1_and_debug_shows_where(cli, monkeypatch):
    from minieng.model.runner import ModelRunner

    def fall_over(self, plan):
        raise IndexError("out of\nluck")

    monkeypatch.setattr(ModelRunner, "execute", fall_over)
    code, _, err = cli("generate", "x")
    assert (code, err) == (1, "minieng: error: IndexError: out of luck (--debug shows where)\n")
    assert "Traceback" in cli("generate", "x", "--debug")[2]


# -- processes ----------------------------------------------------------------------------------------------------


def start(path, *words):
    command = [*PYTHON, *words, "--model", str(path), "--num-blocks", "60"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_ctrl_c_ends_it_without_a_traceback(shape):
    process = start(shape("llama").path, "bench", "--rate", "0.001", "--schedulers", "chunked")
    while "request" not in (line := process.stderr.readline()):
        assert line, "it ended before it began"
    process.stderr.read(10)  # the progress bar: it waits for the first arrival now
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == "" and "Traceback" not in err


def test_a_reader_that_goes_away_is_no_error(shape):
    process = start(shape("llama").path, "generate", "the cat", "--max-tokens", "200", "--ignore-eos")
    process.stdout.read(1)
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(timeout=60) == 141 and "Traceback" not in err and "BrokenPipe" not in err

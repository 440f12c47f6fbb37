"""How long a class takes: grade N submissions of exercise 02 and keep the time as JSON.

    python benchmarks/grading.py                 100 submissions, 2 at a time
    python benchmarks/grading.py --kill          kill a run half-way; the next must finish with the same table

The class is mixed: right answers of several designs, half-done notebooks, wrong answers,
and one endless loop in twenty.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).with_name("results") / "grading.json"
KINDS = {
    "right": {},
    "half done": {"02.4": "# Task 02.4\ndef pack(prompts):\n    raise NotImplementedError", "02.5": "# Task 02.5"},
    "wrong": {
        "02.2": "# Task 02.2\ndef padding_waste(lengths):\n    return 100 - 100 * sum(lengths) / len(lengths)",
        "02.5": "# Task 02.5\ndef packed_mask(cu):\n    return [[1] * cu[-1]] * cu[-1]",
    },
    "loop": {"02.3": "# Task 02.3\ndef bucket_by_length(lengths, batch_size):\n    while True:\n        pass"},
}


def kind_of(i):
    return "loop" if i % 20 == 19 else ("right", "wrong", "half done")[i % 3]


def write_class(folder, count):
    """`count` notebooks in `folder`, the same ones each time."""
    book = json.loads(next((ROOT / "solutions").glob("02_*.ipynb")).read_text(encoding="utf-8"))
    for i in range(count):
        copy = json.loads(json.dumps(book))
        for cell in copy["cells"]:
            for task, source in KINDS[kind_of(i)].items():
                if "".join(cell["source"]).startswith(f"# Task {task}"):
                    cell["source"] = source
        (folder / f"student{i:03d}.ipynb").write_text(json.dumps(copy), encoding="utf-8")


def command(folder, out, jobs):
    return [
        sys.executable,
        "-m",
        "coursekit",
        "grade",
        str(folder),
        "-o",
        str(out),
        "--feedback",
        str(out.parent / "pages"),
        "--jobs",
        str(jobs),
        "--seed",
        "1",
        "--solutions",
        str(ROOT / "solutions"),
    ]


def timed(line):
    begun = time.perf_counter()
    subprocess.run(line, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def killed_half_way(line, count):
    """Start, kill the grader when half the class is done; returns how many were done."""
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for text in process.stdout:
            if text.startswith(f"[{count // 2}/"):
                process.send_signal(signal.SIGKILL)
                break
    time.sleep(1)
    return count // 2


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kill", action="store_true")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from coursekit.grade import sandbox

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "in").mkdir()
        write_class(folder / "in", args.count)
        seconds = timed(command(folder / "in", folder / "a" / "grades.csv", args.jobs))
        result = {
            "submissions": args.count,
            "jobs": args.jobs,
            "seconds": round(seconds, 1),
            "limit_seconds": 240,
            "sandbox": sandbox.choose("auto")[0],
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "date": date.today().isoformat(),
            "command": "python benchmarks/grading.py" + (" --kill" if args.kill else ""),
        }
        if args.kill:
            line = command(folder / "in", folder / "b" / "grades.csv", args.jobs)
            result["killed_after"] = killed_half_way(line, args.count)
            result["seconds_to_finish"] = round(timed(line), 1)
            same = (folder / "a" / "grades.csv").read_text() == (folder / "b" / "grades.csv").read_text()
            result["same_table_after_kill"] = same
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    return 0 if seconds < 240 and result.get("same_table_after_kill", True) else 1


if __name__ == "__main__":
    raise SystemExit(main())

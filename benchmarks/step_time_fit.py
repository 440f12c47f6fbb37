"""The step-time formula on this machine: fitted on one half of a real run, checked on the other half.

    python benchmarks/step_time_fit.py [--model smollm2-135m] [--threads 2] [--json FILE]

A chunked run of ``mixed_length`` requests that all come at once, so that there are steps of all sizes. The fit takes
every other step and predicts the rest. Prints the fitted constants and the errors, and stores them with the steps.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from minieng.save import writable  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "step_time_fit.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="what runs (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=32, help="how many requests (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: %(default)s)")
    parser.add_argument("--json", type=writable, default=RESULTS, help="where to store the results")
    args = parser.parse_args()

    import torch
    from peers.host import Watch, describe

    torch.set_num_threads(args.threads)
    from minieng import LLM
    from minieng.sim.fit import fit_report, measured
    from minieng.sim.hardware import ModelSpec
    from minieng.workload import Workload

    workload = Workload.preset("mixed_length", n=args.requests, rate=float("inf"))
    knobs = dict(scheduler="chunked", max_num_seqs=32, max_num_batched_tokens=256, enable_prefix_caching=False, dtype="float32")
    with LLM(args.model, **knobs) as llm:
        llm.serve_workload(Workload.preset("mixed_length", n=4, rate=float("inf"), seed=1))  # warm up
        watch = Watch(None)
        trace = llm.serve_workload(workload, progress=True).trace
        load = watch.lap()
        found = fit_report(trace, ModelSpec.of_model(llm.runner.model, args.model))
    print(found)
    result = {
        "what": "the step-time formula fitted on every other step of a real run and checked on the rest",
        "command": " ".join(["python", *sys.argv]),
        "date": date.today().isoformat(),
        "versions": {name: version(name) for name in ("torch", "transformers", "numpy")},
        "machine": describe(),
        "threads": args.threads,
        "foreign_cpu_share": round(load.foreign, 3),
        "workload": str(workload),
        "engine": knobs,
        "median_error_fitted": found.error_fitted,
        "median_error_checked": found.error_checked,
        "nine_in_ten_within": found.worst_tenth,
        "constants": {
            "matrices_flops": found.model.gpu.flops,
            "weights_bytes_per_s": found.model.gpu.bandwidth,
            "kv_bytes_per_s": found.model.gpu.bandwidth * found.model.gpu.eta_kv,
            "fixed_s": found.model.host_seconds(0),
            "request_s": found.model.host_seconds(1) - found.model.host_seconds(0),
        },
        "steps": [[r.num_tokens, round(r.duration, 5), round(float(found.model.predict(r)), 5)] for r in measured(trace)],
    }
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps(result, indent=1) + "\n")
    print(f"stored in {args.json}")


if __name__ == "__main__":
    main()

"""In lm-eval's environment: a multiple-choice task of our own, scored over HTTP, and by lm-eval itself on the same model."""

import json
import sys
from importlib.metadata import version

import lm_eval
from lm_eval.tasks import TaskManager

url, model, folder, weights = sys.argv[1:]
found = {"version": version("lm_eval")}
backends = {
    "local-completions": {"model": model, "base_url": f"{url}/v1/completions", "tokenizer": weights, "num_concurrent": 4,
                          "tokenizer_backend": "huggingface", "max_retries": 1},
    "hf": {"pretrained": weights, "dtype": "float32", "device": "cpu"},
}  # fmt: skip
for backend, arguments in backends.items():
    told = lm_eval.simple_evaluate(
        model=backend, model_args=arguments, tasks=["stories"], batch_size=8, log_samples=True, bootstrap_iters=0,
        task_manager=TaskManager(include_path=folder, include_defaults=False),
    )  # fmt: skip
    samples = sorted(told["samples"]["stories"], key=lambda sample: sample["doc_id"])
    found[backend] = {
        "acc": told["results"]["stories"]["acc,none"],
        "logprobs": [[float(answer[0]) for answer in sample["filtered_resps"]] for sample in samples],
        "greedy": [[bool(answer[1] in (True, "True")) for answer in sample["filtered_resps"]] for sample in samples],
    }
print(json.dumps(found))

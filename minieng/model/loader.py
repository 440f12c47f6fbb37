"""From a model's name to a local directory that `transformers.AutoModelForCausalLM.from_pretrained` loads as it is.

A name is a short name (`smollm2-135m`, `tiny`), a Hugging Face id (`org/name`), a directory, or a GGUF file.
Promises: a directory that is not complete is never returned; what was fetched or converted once is never fetched or
converted again; whatever is in our own cache and damaged is made anew; everywhere else the error names the remedy.
Knows nothing of devices and never holds a model longer than a conversion takes. torch and transformers are imported
only when a conversion, a tokenizer or a config needs them, so `import minieng` stays light.

    MINIENG_HOME (else ~/.cache/minieng, ~/Library/Caches/minieng on macOS)
      models/<name>/            published with one os.replace, so it is there as a whole or not at all
        minieng.json            the manifest, written last: source, sha256, versions, {file: bytes}
        config.json, model.safetensors, tokenizer.json, ...   (for source "hub": only the manifest, pointing at the hub's cache)
      models/.<name>.lock       held while a process makes models/<name>, so that two processes do not both convert
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import fetch
from .fetch import ModelError, ModelNotFound

SMOLLM2_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
BUNDLED = {"tiny": Path(__file__).parent / "tiny"}
FETCHED = ("smollm2-135m",)
MANIFEST = "minieng.json"

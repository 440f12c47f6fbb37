"""From a model's name to its directory: where models come from (``resolve``),
and how they are kept (``shelf``).
"""

from .resolve import available, describe, load_config, load_tokenizer
from .shelf import ModelError, ModelNotFound

__all__ = ["ModelError", "ModelNotFound", "available", "describe", "load_config", "load_tokenizer"]

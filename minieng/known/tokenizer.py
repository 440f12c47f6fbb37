"""A tokenizer for plain text, without transformers: the same library beneath, in the state it had there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

SAMPLES = (
    "", " ", "Hi", " a  b\n\n\tc ", "The capital of France is", "naïve café — 日本語 🦙 e\u0301", "A" * 300,
    "x = [1, 2.5, -3e10];  # ok", "don't , you ' re .", "<s> </s> <|im_start|>user\nHi<|im_end|>\n",
    "\ufffd\x00\u200d",
)  # fmt: skip


class PlainTokenizer:
    """Encodes a text and decodes tokens itself; for anything else it becomes transformers' own tokenizer.

    file  as ``backend_of`` wrote it
    load  makes transformers' tokenizer, chat template and all, of a model's ``path``
    """

    def __init__(self, file: Path, path: Path, load: Callable[[Path], Any]) -> None:
        self.__dict__.update(_file=file, _path=path, _load=load)

    def __reduce__(self) -> Any:
        """For other processes, such as replicas: made anew there; a changed one goes as it is."""
        if isinstance(self.__dict__.get("_backend"), _Changed):
            return _Changed.tokenizer, (self._whole,)
        return PlainTokenizer, (self._file, self._path, self._load)

    @functools.cached_property
    def _backend(self) -> Any:
        return made_of(self._file.read_bytes())

    @functools.cached_property
    def _whole(self) -> Any:
        return self._load(self._path)

    def __call__(self, text: Any, add_special_tokens: bool = True, **options: Any) -> Any:
        if options or not isinstance(text, str):
            return self._whole(text, add_special_tokens=add_special_tokens, **options)
        ids = self._backend.encode(text, add_special_tokens=add_special_tokens).ids
        return Encoded(input_ids=ids, attention_mask=[1] * len(ids))

    def decode(self, tokens: Any, skip_special_tokens: bool = False, **options: Any) -> Any:
        if options or type(tokens) is not list or not all(type(token) is int for token in tokens):
            return self._whole.decode(tokens, skip_special_tokens=skip_special_tokens, **options)
        return self._backend.decode(tokens, skip_special_tokens=skip_special_tokens)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # of copy and pickle: they ask before there is anything
            raise AttributeError(name)
        return getattr(self._whole, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """A change is the reader's own, so everything is asked of transformers' tokenizer from then on."""
        setattr(self._whole, name, value)
        self.__dict__["_backend"] = _Changed(self._whole)

    def __len__(self) -> int:
        return len(self._whole)


class Encoded(dict):
    """What a tokenizer makes of a text, by key or by attribute."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class _Changed:
    """transformers' tokenizer with a backend's two methods."""

    def __init__(self, whole: Any) -> None:
        self.whole = whole

    @staticmethod
    def tokenizer(whole: Any) -> Any:
        return whole

    def encode(self, text: str, add_special_tokens: bool) -> Any:
        return Encoded(ids=self.whole(text, add_special_tokens=add_special_tokens)["input_ids"])

    def decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
        return self.whole.decode(tokens, skip_special_tokens=skip_special_tokens)


def backend_of(tokenizer: Any) -> bytes:
    """The state of the library's tokenizer beneath transformers'. AttributeError if it has none."""
    return tokenizer.backend_tokenizer.to_str().encode()


def made_of(backend: bytes) -> Any:
    from tokenizers import Tokenizer

    made = Tokenizer.from_str(backend.decode())
    made.no_truncation()
    made.no_padding()
    return made


def agrees(tokenizer: Any, backend: bytes) -> bool:
    """Whether texts of many kinds, and pieces of their tokens, come out as from transformers' tokenizer."""
    plain = made_of(backend)
    special = [token for token in tokenizer.all_special_ids if token is not None]
    for text in (*SAMPLES, tokenizer.decode(special)):
        for whole in (True, False):
            ids = tokenizer(text, add_special_tokens=whole)["input_ids"]
            if plain.encode(text, add_special_tokens=whole).ids != ids:
                return False
            pieces = [ids[i : i + n] for n in (1, 3, len(ids)) for i in range(0, len(ids), n or 1)]
            for piece in [*pieces, special + ids]:
                if plain.decode(piece, skip_special_tokens=whole) != tokenizer.decode(
                    piece, skip_special_tokens=whole
                ):
                    return False
    return True

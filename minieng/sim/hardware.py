"""GPUs and models as data: what the step-time formula must know of them, and where each number comes from.

Bytes, bytes a second, FLOP a second, seconds. A GPU's ``eta`` are the shares of its data-sheet figures that
real kernels reach: ``eta_m`` of bandwidth when weights are read, ``eta_c`` of FLOP/s in matrix products,
``eta_kv`` of bandwidth when attention reads KV. They belong to the hardware; none is adjusted to a result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class GPU:
    """One accelerator.

    bandwidth, flops, memory   data sheet: bytes/s, dense half-precision FLOP/s, bytes
    link        bytes/s to a neighbour, one direction (NVLink, else PCIe)
    host_link   bytes/s to host memory: 25e9 is PCIe 4 x16 in practice, assumed where nothing else is said
    copy_seconds  of each copy to the host or back, beside its bytes: 6e-6, assumed for all
                  (cudaMemcpyAsync took 5 to 7 us in Wu et al., DualPath, arXiv 2602.21548, section 5.2)
    eta_a       share of FLOP/s that attention over a prompt reaches: 0.5, assumed for all
    layer_seconds  time a layer takes beside its matrix products and attention (small kernels, launches)
    standing    "measured" or "guess", for the three eta
    """

    name: str
    bandwidth: float
    flops: float
    memory: float
    link: float
    eta_m: float
    eta_c: float
    eta_kv: float
    layer_seconds: float = 20e-6
    standing: str = "measured"
    source: str = ""
    eta_a: float = 0.5
    host_link: float = 25e9
    copy_seconds: float = 6e-6


_VIDUR = "eta: Vidur operator profiles (microsoft/vidur, MIT) and AIConfigurator GEMM tables"
_PEER = "eta: LLMServingSim 2.0 profile (casys-kaist, MIT)"
_GUESS = "eta: no public measurement was found; plausible values"

GPUS = {
    gpu.name: gpu
    for gpu in (
        GPU("A100-80G", 2.039e12, 312e12, 80e9, 300e9, 0.76, 0.72, 0.65, 25e-6, source=_VIDUR),
        GPU(
            "A100-40G",
            1.555e12,
            312e12,
            40e9,
            300e9,
            0.76,
            0.72,
            0.65,
            25e-6,
            source=_VIDUR + ", as A100-80G",
        ),
        GPU("H100", 3.35e12, 989e12, 80e9, 450e9, 0.78, 0.76, 0.75, 20e-6, source=_VIDUR),
        GPU(
            "H200",
            4.8e12,
            989e12,
            141e9,
            450e9,
            0.75,
            0.80,
            0.75,
            20e-6,
            source="eta: AIConfigurator GEMM tables",
        ),
        GPU("GB200", 8e12, 2500e12, 186e9, 900e9, 0.75, 0.70, 0.70, 20e-6, "guess", _GUESS, host_link=225e9),
        GPU("RTX4090", 1.008e12, 165e12, 24e9, 32e9, 0.90, 0.97, 0.80, 20e-6, source=_PEER),
        GPU(
            "L40S",
            0.864e12,
            362e12,
            48e9,
            32e9,
            0.79,
            0.63,
            0.77,
            20e-6,
            source="eta: AIConfigurator GEMM tables",
        ),
        GPU("A10G", 0.600e12, 70e12, 24e9, 32e9, 0.80, 0.60, 0.75, 20e-6, "guess", _GUESS),
        GPU("L4", 0.300e12, 121e12, 24e9, 32e9, 0.80, 0.60, 0.75, 20e-6, "guess", _GUESS),
        GPU("T4", 0.320e12, 65e12, 16e9, 16e9, 0.75, 0.45, 0.60, 25e-6, "guess", _GUESS),
    )
}


@dataclass(frozen=True)
class ModelSpec:
    """The shape of a decoder-only transformer; everything the formula needs, nothing else.

    ff_width      width of the feed-forward layer; ``gated`` ones (SwiGLU) have three matrices, others two
    weight_bytes, kv_bytes   bytes of one weight and of one K or V element (2: half precision)
    max_len       longest text in tokens
    extra_params  embeddings of positions and the like: memory, never computed with
    """

    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_size: int
    ff_width: int
    vocab: int
    gated: bool = True
    tied: bool = False
    max_len: int = 4096
    weight_bytes: float = 2
    kv_bytes: float = 2
    extra_params: int = 0
    source: str = ""

    @property
    def linear_params(self) -> int:
        """P_lin: weights of all layers' matrices, each used once for every token."""
        attention = (
            self.width * (self.heads + 2 * self.kv_heads) * self.head_size
            + self.heads * self.head_size * self.width
        )
        return self.layers * (attention + (3 if self.gated else 2) * self.width * self.ff_width)

    @property
    def head_params(self) -> int:
        """P_head: weights of the output head, used once for every token that is sampled."""
        return self.vocab * self.width

    @property
    def num_params(self) -> int:
        return self.linear_params + (1 if self.tied else 2) * self.head_params + self.extra_params

    @property
    def weights_nbytes(self) -> float:
        return self.num_params * self.weight_bytes

    @property
    def kv_nbytes_per_token(self) -> float:
        """Bytes of K and V of one token in all layers."""
        return 2 * self.layers * self.kv_heads * self.head_size * self.kv_bytes

    @classmethod
    def of_model(cls, model: Any, name: str = "") -> ModelSpec:
        """As an engine has it loaded, ``llm.runner.model``:
        with the bytes that it keeps for a weight and a KV element.
        """
        return replace(
            cls.of_config(model.config, name, model.dtype.itemsize), weight_bytes=model.weight_nbytes
        )

    @classmethod
    def of_config(cls, config: Any, name: str = "", nbytes: float = 4) -> ModelSpec:
        """From a transformers configuration of the Llama family. ``nbytes``:
        of one weight and one KV element.
        """
        heads = config.num_attention_heads
        return cls(
            name=name or config.model_type, layers=config.num_hidden_layers, width=config.hidden_size,
            heads=heads, kv_heads=getattr(config, "num_key_value_heads", heads),
            head_size=getattr(config, "head_dim", None) or config.hidden_size // heads,
            ff_width=config.intermediate_size, vocab=config.vocab_size, tied=config.tie_word_embeddings,
            max_len=config.max_position_embeddings, weight_bytes=nbytes, kv_bytes=nbytes,
            source="its own config.json",
        )  # fmt: skip


_HUB = "config.json on the Hugging Face hub"
_OPT: dict[str, Any] = dict(gated=False, tied=True, max_len=2048, source="facebook/opt " + _HUB)
_GPT3: dict[str, Any] = dict(gated=False, tied=True, max_len=2048, source="Brown et al. 2020, table 2.1")

MODELS = {
    model.name: model
    for model in (
        ModelSpec("llama-7b", 32, 4096, 32, 32, 128, 11008, 32000, max_len=2048, source=_HUB),
        ModelSpec("llama-2-7b", 32, 4096, 32, 32, 128, 11008, 32000, source=_HUB),
        ModelSpec("llama-13b", 40, 5120, 40, 40, 128, 13824, 32000, max_len=2048, source=_HUB),
        ModelSpec("llama-2-70b", 80, 8192, 64, 8, 128, 28672, 32000, source=_HUB),
        ModelSpec("llama-3-8b", 32, 4096, 32, 8, 128, 14336, 128256, max_len=8192, source=_HUB),
        ModelSpec("llama-3.1-8b", 32, 4096, 32, 8, 128, 14336, 128256, max_len=131072, source=_HUB),
        ModelSpec("llama-3-70b", 80, 8192, 64, 8, 128, 28672, 128256, max_len=8192, source=_HUB),
        ModelSpec("mistral-7b", 32, 4096, 32, 8, 128, 14336, 32000, max_len=32768,
        source=_HUB + "; no window"), ModelSpec("yi-34b", 60, 7168, 56, 8, 128, 20480, 64000, max_len=4096,
        source=_HUB), ModelSpec("qwen2.5-7b", 28, 3584, 28, 4, 128, 18944, 152064, max_len=32768,
        source=_HUB), ModelSpec("qwen3-0.6b", 28, 1024, 16, 8, 128, 3072, 151936, tied=True, max_len=40960,
        source=_HUB), ModelSpec("qwen3-32b", 64, 5120, 64, 8, 128, 25600, 151936, max_len=40960,
        source=_HUB), ModelSpec("smollm2-135m", 30, 576, 9, 3, 64, 1536, 49152, tied=True, max_len=8192,
        source=_HUB), ModelSpec("opt-13b", 40, 5120, 40, 40, 128, 20480, 50272, extra_params=2050 * 5120,
        **_OPT), ModelSpec("opt-66b", 64, 9216, 72, 72, 128, 36864, 50272, extra_params=2050 * 9216, **_OPT),
        ModelSpec("gpt3-175b", 96, 12288, 96, 96, 128, 49152, 50257, extra_params=2048 * 12288, **_GPT3),
        ModelSpec("distilgpt2", 6, 768, 12, 12, 64, 3072, 50257, gated=False, tied=True, max_len=1024,
                  weight_bytes=4, kv_bytes=4, extra_params=1024 * 768, source=_HUB),
    )
}  # fmt: skip


def find_gpu(name: str | GPU) -> GPU:
    """A GPU by its name, in any case. Raises ValueError with the names there are."""
    return name if isinstance(name, GPU) else _find(name, GPUS, "gpu")


def find_model(name: str | ModelSpec) -> ModelSpec:
    """A model by its name, in any case. Raises ValueError with the names there are."""
    return name if isinstance(name, ModelSpec) else _find(name, MODELS, "model")


def _find(name: str, known: dict[str, Any], kind: str) -> Any:
    by_name = {key.lower(): value for key, value in known.items()}
    if str(name).lower() not in by_name:
        raise ValueError(
            f"{kind}={name!r}: the simulator knows {', '.join(known)}; for another one pass a spec of your "
            "own"
        )
    return by_name[str(name).lower()]


def quantised(model: ModelSpec, weight_bytes: float, kv_bytes: float | None = None) -> ModelSpec:
    """The same model with weights (and KV) of another size, such as 1 for 8-bit."""
    return replace(
        model, weight_bytes=weight_bytes, kv_bytes=model.kv_bytes if kv_bytes is None else kv_bytes
    )

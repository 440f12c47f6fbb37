"""How long a step takes: a roofline with a smooth maximum, from five numbers that sum up the batch.

    T = ‖2·P_lin·N / (η_c·C),  b·P_lin / (η_m·B)‖₂      matrices of the layers: compute or weights, whichever
      is slower + ‖2·P_head·S / (η_c·C), b·P_head / (η_m·B)‖₂     output head + kv·Σ(c+q) / (η_kv·B)
      attention reads all KV + 4·L·H·d_h·Σ_{q>1}(q·c + q(q+1)/2) / (η_a·C)     attention of prompts computes +
      16·d·b·L·N / (η_m·B)                            norms, activations, residuals: memory traffic + T_host +
      R·t_host + L·t_layer + T_comm

for R requests of q new and c cached tokens, N = Σq, S = tokens sampled. The 2-norm of the compute and the
memory time fits measured matrix products to 3-7 %; the plain maximum, the textbook roofline, to 7-12 %.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from .hardware import GPU, ModelSpec, find_gpu, find_model

if TYPE_CHECKING:
    from ..observe.trace import StepRecord
    from ..plan import Plan

HostTime = float | tuple[float, float]

# Seconds on the host: T_host of a step, or (T_host, t_host of each request in it). Assumed, each from a
# published gap between kernels' and steps' time, none from a figure that is judged by it.
#
# vllm 2024: one process plans, streams to clients and waits for the GPU. vLLM's post on v0.6.0 (September
# 2024) found it to leave 38 % of the time to the GPU, with Llama-3-8B on an H100. A full batch, 256 requests
# (its default) with 400 tokens each (half-way through the mean text of ShareGPT), takes 14.1 ms there by the
# terms above, so the host took 23 ms: 2 ms a step, as for small batches, and 82 us a request. For later
# versions no such share is published: 0.
HOST_SECONDS: dict[str, HostTime] = {
    "cuda graphs, asynchronous": 0.0,
    "vllm 2025": 1e-3,
    "vllm 2024": (2e-3, 82e-6),
    "transformers eager": 15e-3,
}
MOST_HOST_SECONDS = 60
LINK_SHARE = 0.6  # share of the link's data-sheet speed that an all-reduce reaches
ALLREDUCE_SECONDS = 20e-6  # latency of one all-reduce
HOP_SECONDS = 10e-6  # latency of one message between pipeline stages


class Work(NamedTuple):
    """What the formula must know of a batch; numbers, or numpy arrays with one entry a step.

    new      N, tokens computed (padding included)
    logits   S, tokens sampled
    context  Σ(c+q) over requests, tokens of KV read
    pairs    Σ(q·c + q(q+1)/2) over requests with q > 1: query-key pairs of prompts
    requests  R, how many take part
    """

    new: Any = 0
    logits: Any = 0
    context: Any = 0
    pairs: Any = 0
    requests: Any = 0

    @classmethod
    def of(cls, slices: list[tuple[int, int]]) -> Work:
        """From (new, cached) of each request, every request sampling one token."""
        pairs = sum(q * c + q * (q + 1) / 2 for q, c in slices if q > 1)
        return cls(sum(q for q, _ in slices), len(slices), sum(q + c for q, c in slices), pairs, len(slices))

    @classmethod
    def rectangle(cls, rows: int, width: int, cached: int) -> Work:
        """A padded batch: every row computes ``width`` positions after ``cached`` ones,
        whatever is in them.
        """
        return cls.of([(width, cached)] * rows)

    @classmethod
    def of_record(cls, record: StepRecord) -> Work:
        """What a recorded step did."""
        if record.rows is not None:
            width = max((n for _, _, n in record.slices), default=0)
            return cls.rectangle(len(record.rows), width, record.column - width)
        slices = [(n, computed) for _, computed, n in record.slices]
        return cls.of(slices)._replace(logits=sum(token is not None for token in record.tokens))

    @classmethod
    def of_plan(cls, plan: Plan) -> Work:
        """What a plan will do; valid until it is carried out."""
        if plan.rows is not None and plan.extend:
            first = plan.extend[0]
            width = plan.width
            return cls.rectangle(
                len(plan.rows), width, first[0].pad + first[0].num_computed_tokens + first[1] - width
            )
        new = logits = context = 0
        pairs = 0.0
        for request, n in plan.extend:
            end = request.num_computed_tokens + n
            context += end
            new += n
            logits += end == len(request.token_ids)
            if n > 1:
                pairs += n * (end - n) + n * (n + 1) / 2
        return cls(new, logits, context, pairs, len(plan.extend))


def decodes(batch: int, context: int) -> Work:
    """``batch`` requests that each compute one token and then have ``context`` tokens of KV."""
    return Work(batch, batch, batch * context, 0, batch)


class Terms(NamedTuple):
    """The seconds of a step, by what they are spent on."""

    linear: Any
    head: Any
    kv_read: Any
    attention: Any
    elementwise: Any
    host: Any
    layers: Any
    communication: Any


def norm2(x: Any, y: Any) -> Any:
    """A smooth maximum of two times that partly overlap."""
    return (x * x + y * y) ** 0.5


@dataclass(frozen=True)
class StepTimeModel:
    """Seconds of a step of ``model`` on ``gpu``.

    tensor    GPUs that split every layer (tensor parallel)
    stages    GPUs, or groups of them, that split the layers (pipeline)
    host      seconds of each step spent on the host, or (of each step, of each request in it): see
    HOST_SECONDS
    kv_penalty  factor on the attention terms, for kernels slower than today's (1: none)
    """

    model: ModelSpec
    gpu: GPU
    tensor: int = 1
    stages: int = 1
    host: HostTime = HOST_SECONDS["vllm 2025"]
    kv_penalty: float = 1.0

    @classmethod
    def named(cls, model: str | ModelSpec, gpu: str | GPU, **settings: Any) -> StepTimeModel:
        """By names. Raises ValueError for one that is unknown, a split that the model has not,
        or a time that is none.
        """
        times = cls(find_model(model), find_gpu(gpu), **settings)
        shape = times.model
        for name, most, parts in (("tensor", shape.heads, "heads"), ("stages", shape.layers, "layers")):
            value = getattr(times, name)
            if not isinstance(value, int) or not 1 <= value <= most:
                raise ValueError(
                    f"{name}={value}: must be from 1 to {most}, {shape.name} has {most} {parts} to split"
                )
        for seconds in times.host if isinstance(times.host, tuple) else (times.host,):
            if not 0 <= seconds <= MOST_HOST_SECONDS:
                raise ValueError(
                    f"host={seconds}: must be seconds on the host, of a step or of a request, from 0 to "
                    f"{MOST_HOST_SECONDS}"
                )
        return times

    @classmethod
    def fit(cls, trace: Any, model: ModelSpec, bandwidth: float | None = None) -> StepTimeModel:
        """This machine's constants from a trace recorded on it; ``fit.fit_report`` says how good they are.

        bandwidth  bytes/s at which the machine reads its memory; fitted too if not given
        """
        from .fit import fit

        return fit(trace, model, bandwidth)

    def terms(self, work: Work) -> Terms:
        """Every term of the formula for a batch that passes all stages, one after the other."""
        m, g, t = self.model, self.gpu, self.tensor
        compute, memory = t * g.eta_c * g.flops, t * g.eta_m * g.bandwidth
        b, kv = m.weight_bytes, m.kv_nbytes_per_token / t
        pair_flops = 4 * m.layers * m.heads * m.head_size / t
        return Terms(
            linear=norm2(2 * m.linear_params * work.new / compute, b * m.linear_params / memory),
            # times the comparison: no logits, no head, for one step and for an array of them
            head=norm2(
                2 * m.head_params * work.logits / compute, b * m.head_params / memory * (work.logits > 0)
            ),
            kv_read=self.kv_penalty * kv * work.context / (g.eta_kv * g.bandwidth),
            attention=self.kv_penalty * pair_flops * work.pairs / (g.eta_a * g.flops),
            elementwise=16 * m.width * b * m.layers * work.new / (g.eta_m * g.bandwidth),
            host=self.host_seconds(work.requests),
            layers=m.layers * g.layer_seconds,
            communication=self.allreduce(work.new) + (self.stages - 1) * self.hop(work.new),
        )

    def host_seconds(self, requests: Any) -> Any:
        """Host time of a step of so many requests."""
        step, request = self.host if isinstance(self.host, tuple) else (self.host, 0.0)
        return step + request * requests

    def seconds(self, work: Work) -> Any:
        return sum(self.terms(work))

    def allreduce(self, new: Any) -> Any:
        """Two all-reduces a layer, tensor parallel only."""
        t, m = self.tensor, self.model
        if t == 1:
            return 0.0
        payload = 2 * (t - 1) / t * new * m.width * m.weight_bytes
        return 2 * m.layers * (payload / (LINK_SHARE * self.gpu.link) + ALLREDUCE_SECONDS)

    def hop(self, new: Any) -> Any:
        """Activations from one pipeline stage to the next."""
        return new * self.model.width * self.model.weight_bytes / self.gpu.link + HOP_SECONDS

    def stage_seconds(self, work: Work) -> list[float]:
        """How long a batch keeps each stage busy: the host on the first, the head on the last."""
        terms, s = self.terms(work), self.stages
        even = (
            terms.linear
            + terms.kv_read
            + terms.attention
            + terms.elementwise
            + terms.layers
            + self.allreduce(work.new)
        ) / s
        seconds = [even] * s
        seconds[0] += terms.host
        seconds[-1] += terms.head
        return seconds

    def predict(self, record: StepRecord) -> float:
        """Seconds that a recorded step should have taken."""
        return self.seconds(Work.of_record(record))

    def num_blocks(self, block_size: int, memory_fraction: float = 0.9, workspace: float = 1e9) -> int:
        """Blocks of KV that fit beside the weights;
        ``workspace`` bytes a GPU are kept for activations (assumed).
        """
        gpus = self.tensor * self.stages
        free = gpus * (self.gpu.memory * memory_fraction - workspace) - self.model.weights_nbytes
        blocks = int(free // (self.model.kv_nbytes_per_token * block_size))
        if blocks < 1:
            need = self.model.weights_nbytes / 1e9
            raise ValueError(
                f"{self.model.name} needs {need:.1f} GB for its weights, {gpus} x {self.gpu.name} leave no "
                "room for KV: raise tensor or stages, or choose a larger GPU"
            )
        return blocks

    def on(self, gpu: str | GPU) -> StepTimeModel:
        """The same set-up on another GPU."""
        return replace(self, gpu=find_gpu(gpu))

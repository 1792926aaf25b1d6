"""How fast a reranker scores, against what its machine's matrix multiplication can do; knows no command."""

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from rerankers.base import AbsReranker
from rerankers.errors import BadArgument
from rerankers.sequences import Pair

MATMUL_SIZES = {"cpu": (2048, 1024, 1024)}
OTHER_MATMUL_SIZES = (8192, 8192, 8192)
"""Rows, inner and columns of the multiplication that stands for the machine's peak, by type of device."""
MATMULS_A_ROUND = 5
MATMUL_S_A_ROUND = 1.0
"""Seconds after which no further product is begun: a CPU without bf16 takes long for one."""


@dataclass(frozen=True)
class Speed:
    """What was measured.

    Args:
        machine: what it was measured on.
        pairs, tokens: of a round; tokens as the model reads them, without padding.
        best_s, median_s: seconds of a round.
        flops: floating-point operations that the model needs for a round, a multiplication and an addition
            counted as two: those of all matrix products and of attention, each pair scored alone, so that
            there is no padding. For each linear layer that is 2 · parameters · the tokens that it runs for,
            for each attention 4 · tokens² · width, causal ones counted whole. Embeddings, norms and layers
            that do not run count nothing; a head counts only for the token that it reads.
        peak_flops_per_s: of the best large matrix product between the rounds, in fp32 or the model's own,
            whichever is faster here: a CPU may have no fast one in bf16.
        peak_memory_bytes: the most that was resident of this process, with its libraries.
        peak_device_bytes: the most that was allocated on the GPU; None without one.
    """

    machine: str
    class_name: str
    device: str
    dtype: str
    rounds: int
    pairs: int
    tokens: int
    best_s: float
    median_s: float
    flops: int
    peak_flops_per_s: float
    peak_memory_bytes: int
    peak_device_bytes: int | None

    @property
    def best_pairs_per_s(self) -> float:
        return self.pairs / self.best_s

    @property
    def median_pairs_per_s(self) -> float:
        return self.pairs / self.median_s

    @property
    def best_tokens_per_s(self) -> float:
        return self.tokens / self.best_s

    @property
    def median_tokens_per_s(self) -> float:
        return self.tokens / self.median_s

    @property
    def s_per_100_pairs(self) -> float:
        return 100 * self.median_s / self.pairs

    @property
    def best_flops_per_s(self) -> float:
        return self.flops / self.best_s

    @property
    def share_of_peak(self) -> float:
        return self.best_flops_per_s / self.peak_flops_per_s


def measure_speed(reranker: AbsReranker, pairs: Sequence[Pair], rounds: int) -> Speed:
    """Count the work for the pairs, score them once to warm up, then some rounds, and time those.

    Args:
        pairs: P different ones; equal pairs would be scored once.
        rounds: at least 1.

    Raises:
        BadArgument: two pairs are equal, or the model is on several devices, in processes of their own.
    """
    if len(reranker.devices) > 1:
        raise BadArgument("devices: expected one to measure (--device), found several")
    pairs = list(pairs)
    if len(set(pairs)) != len(pairs):
        raise BadArgument("pairs: expected different ones, since equal pairs are scored once")
    dtype = next(reranker.model.parameters()).dtype
    tokens, flops = count_work(reranker, pairs)
    reranker.compute_score(pairs)
    seconds, peak = [], 0.0
    for _ in range(rounds):
        peak = max(peak, *(measure_matmul(reranker.device, each) for each in {dtype, torch.float32}))
        started = time.perf_counter()
        reranker.compute_score(pairs)  # its scores come back to the CPU: a GPU has finished by then
        seconds.append(time.perf_counter() - started)
    return Speed(
        machine=describe_machine(reranker.device),
        class_name=type(reranker).__name__,
        device=str(reranker.device),
        dtype=str(dtype).removeprefix("torch."),
        rounds=rounds,
        pairs=len(pairs),
        tokens=tokens,
        best_s=min(seconds),
        median_s=statistics.median(seconds),
        flops=flops,
        peak_flops_per_s=peak,
        peak_memory_bytes=_read_peak_memory(),
        peak_device_bytes=torch.cuda.max_memory_allocated() if reranker.device.type == "cuda" else None,
    )


def count_work(reranker: AbsReranker, pairs: Sequence[Pair]) -> tuple[int, int]:
    """How many tokens the model reads for these pairs, and how many operations these cost; see `Speed`."""
    tokens = 0

    def count_tokens(_model: torch.nn.Module, _given: Any, named: dict[str, torch.Tensor]) -> None:
        nonlocal tokens
        tokens += int((named["lengths"] if "lengths" in named else named["attention_mask"]).sum())

    hook = reranker.model.register_forward_pre_hook(count_tokens, with_kwargs=True)
    try:
        with FlopCounterMode(display=False) as counter:
            for pair in pairs:
                reranker.compute_score(pair)
    finally:
        hook.remove()
    return tokens, counter.get_total_flops()


def measure_matmul(
    device: torch.device, dtype: torch.dtype, sizes: tuple[int, int, int] | None = None
) -> float:
    """Floating-point operations a second of the best of some large matrix products.

    Args:
        sizes: rows, inner and columns; None is what suits the device.
    """
    rows, inner, columns = sizes or MATMUL_SIZES.get(device.type, OTHER_MATMUL_SIZES)
    left = torch.randn(rows, inner, device=device).to(dtype)
    right = torch.randn(inner, columns, device=device).to(dtype)
    seconds: list[float] = []
    while len(seconds) < MATMULS_A_ROUND and sum(seconds) < MATMUL_S_A_ROUND:
        started = time.perf_counter()
        (left @ right)[0, 0].item()  # which a GPU answers when it has finished
        seconds.append(time.perf_counter() - started)
    return 2 * rows * inner * columns / min(seconds)


def describe_machine(device: torch.device) -> str:
    """Processor, or GPU, and what runs on it, for a figure to be read with."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _read_processor()
    threads = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{name}; {threads}; Python {platform.python_version()}, torch {torch.__version__}"


def _read_processor() -> str:
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        for line in listed.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read_peak_memory() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # elsewhere told in units of 1024 bytes

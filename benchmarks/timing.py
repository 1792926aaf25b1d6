"""Knows how to time fairly on a noisy machine: what is compared takes turns, and quantiles are told."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Step = Callable[[], object]


@dataclass(frozen=True)
class Times:
    """Seconds, one a call."""

    seconds: tuple[float, ...]

    def quantile_ms(self, share: float) -> float:
        """The time that ``share`` (0 to 1) of the calls stayed below, in milliseconds."""
        ordered = sorted(self.seconds)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1000

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)


def take_turns(steps: Mapping[str, Step], rounds: int, warm_up: int) -> dict[str, Times]:
    """Call all steps in each round, in a changing order: a slow moment of the machine hits all."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for number in range(-warm_up, rounds):
        turn = names[number % len(names) :] + names[: number % len(names)]
        for name in turn:
            started = time.perf_counter()
            steps[name]()
            if number >= 0:
                taken[name].append(time.perf_counter() - started)
    return {name: Times(tuple(seconds)) for name, seconds in taken.items()}


def describe_machine() -> str:
    """Processor, cores and interpreter, for a figure to be read with."""
    cores, model = 0, platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        fields = [line.partition(":") for line in cpuinfo.read_text().splitlines()]
        models = [value.strip() for name, _, value in fields if name.strip() == "model name"]
        cores, model = len(models), models[0] if models else model
    return f"{model}, {cores or '?'} cores, Python {platform.python_version()}"

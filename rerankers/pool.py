"""Several devices: a process each, which holds the model and stays. Knows no model and no pairs.

An error in a process comes back to the call that met it. A process that ends is an error for the calls that
needed it; another takes its place with the next call.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import torch

from rerankers.errors import DeviceDied
from rerankers.sequences import Row

LoadModel = Callable[[bool], torch.nn.Module]
"""Loads a model onto the CPU or, told not to read weights, as one without numbers onto ``meta``."""


class RowScorer(Protocol):
    """What a process works with; it comes there without a model."""

    def open_on(self, device: torch.device, load: LoadModel) -> None:
        """Load the model onto the device."""

    def score_sorted(self, rows: Sequence[Row], options: Any) -> torch.Tensor:
        """The logits (K, P) of P rows, the longest first."""


class DevicePool:
    """A process for each device; many threads may call it.

    Args:
        scorer: sent to each process.
        load: how each loads the model.

    Raises:
        DeviceDied: a process ended before it had loaded.
        Exception: as ``scorer.open_on`` raised it in a process.
    """

    def __init__(self, scorer: RowScorer, load: LoadModel, devices: Sequence[torch.device]) -> None:
        n_threads = max(1, torch.get_num_threads() // len(devices))
        self._devices = [_Device(device, (scorer, load, device, n_threads)) for device in devices]
        self._on_each(lambda device: device.run(os.getpid))  # any task makes it start and load

    def score(self, batches: Sequence[Sequence[Row]], options: Any) -> torch.Tensor:
        """Score batches, each on the device that is free first.

        Returns:
            The logits (K, P) of all their rows, in order.

        Raises:
            DeviceDied: a process ended while it scored.
            Exception: as ``scorer.score_sorted`` raised it in a process.
        """
        waiting: SimpleQueue[int] = SimpleQueue()
        for place in range(len(batches)):
            waiting.put(place)
        scores: list[torch.Tensor] = [torch.empty(0)] * len(batches)

        def work_off(device: _Device) -> None:
            for place in iter(lambda: _take(waiting), None):
                try:
                    scores[place] = torch.tensor(device.run(_score, batches[place], options))
                except BaseException:
                    while _take(waiting) is not None:  # nobody wants the rest any more
                        pass
                    raise

        self._on_each(work_off)
        return torch.cat(scores, dim=1)

    def _on_each(self, call: "Callable[[_Device], Any]") -> None:
        with ThreadPoolExecutor(len(self._devices)) as threads:
            for done in [threads.submit(call, device) for device in self._devices]:
                done.result()


class _Device:
    """A device as the calling process sees it; its process is started when it is needed."""

    def __init__(self, device: torch.device, to_open: tuple[RowScorer, LoadModel, torch.device, int]) -> None:
        self._device = device
        self._to_open = to_open
        self._process: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()

    def run(self, task: Callable[..., Any], *arguments: Any) -> Any:
        """Run a task in the process, behind those that wait there already."""
        process = None
        try:
            process = self._get_process()
            return process.submit(task, *arguments).result()
        except BrokenExecutor as error:
            self._drop(process)
            raise DeviceDied(
                f"the process of device {self._device} died (out of memory?); the next call starts another"
            ) from error
        except Exception as error:
            error.add_note(f"on device {self._device}")
            raise

    def _get_process(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._process is None:
                spawning = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
                process = ProcessPoolExecutor(1, mp_context=spawning)
                try:
                    process.submit(_open, *self._to_open).result()
                except BaseException:
                    process.shutdown(wait=False)
                    raise
                self._process = process
            return self._process

    def _drop(self, process: ProcessPoolExecutor | None) -> None:
        with self._lock:
            if self._process is process:
                self._process = None


_scorer: RowScorer
"""In a device's process: its own."""


def _open(scorer: RowScorer, load: LoadModel, device: torch.device, n_threads: int) -> None:
    global _scorer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(n_threads)
    scorer.open_on(device, load)
    _scorer = scorer


def _score(rows: Sequence[Row], options: Any) -> list[list[float]]:
    by_layer: list[list[float]] = _scorer.score_sorted(rows, options).tolist()
    return by_layer  # not a tensor: those travel in shared memory, of which a container has little


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _take(waiting: "SimpleQueue[int]") -> int | None:
    try:
        return waiting.get_nowait()
    except Empty:
        return None

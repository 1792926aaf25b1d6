"""One device or several: what is chosen, and what happens to a call when a device's process fails or dies."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import torch

from rerankers import BadArgument, DeviceDied, FlagReranker, LayerWiseFlagLLMReranker
from rerankers.devices import choose_devices, choose_dtype

TWO = ["cpu", "cpu"]
PAIRS = [(query, "tree path " * n) for query in ("sort list", "delete") for n in (1, 3, 9, 20)]
POISON, DEADLY = "parse json text", "remove remove remove"


class Troubled(FlagReranker):
    """Fails on one query and is killed by another."""

    def encode_pairs(self, pairs, options):
        trouble = {POISON: 1, DEADLY: 2}
        rows = super().encode_pairs(pairs, options)
        return [
            row | {"trouble": [trouble.get(query, 0)]} for row, (query, _) in zip(rows, pairs, strict=True)
        ]

    def score_batch(self, batch, options):
        trouble = int(batch.pop("trouble").max())
        if trouble == 1:
            raise ValueError("an unlucky number")
        if trouble == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().score_batch(batch, options)


@pytest.fixture(scope="module")
def troubled(bert_folder):
    return Troubled(bert_folder, devices=TWO)


@pytest.fixture(scope="module")
def expected(bert_folder):
    return FlagReranker(bert_folder, devices="cpu").compute_score(PAIRS)


def close_to(scores):
    return pytest.approx(scores, abs=1e-4)


@pytest.mark.parametrize("batch_size", [1, 3, 128])
def test_two_devices_score_as_one(troubled, expected, batch_size):
    assert troubled.compute_score(PAIRS, batch_size=batch_size) == close_to(expected)
    assert troubled.compute_score([]) == []
    assert troubled.compute_score(PAIRS[2]) == close_to(expected[2])


def test_two_devices_score_at_several_layers(minicpm_folder):
    one, two = (LayerWiseFlagLLMReranker(minicpm_folder, devices=devices) for devices in ("cpu", TWO))
    by_layer = one.compute_score(PAIRS, cutoff_layers=[2, 4])
    found = two.compute_score(PAIRS, cutoff_layers=[2, 4], batch_size=3)
    assert [len(scores) for scores in found] == [len(PAIRS)] * 2
    for scores, those in zip(found, by_layer, strict=True):
        assert scores == close_to(those)


def test_threads_share_the_devices(troubled, expected):
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(troubled.compute_score, PAIRS, batch_size=2) for _ in range(12)]
        for call in calls:
            assert call.result() == close_to(expected)


def test_an_error_in_a_process_comes_back_and_harms_nobody(troubled, expected):
    before = children()
    with pytest.raises(ValueError, match="an unlucky number") as error:
        troubled.compute_score([*PAIRS, (POISON, "")], batch_size=2)
    assert error.value.__notes__ == ["on device cpu"]
    assert troubled.compute_score(PAIRS, batch_size=2) == close_to(expected)
    assert children() == before


def test_a_process_that_dies_is_an_error_and_is_replaced(troubled, expected):
    """In the middle of a call, and between calls."""
    with pytest.raises(DeviceDied, match="device cpu died"):
        troubled.compute_score([*PAIRS, (DEADLY, "")], batch_size=2)
    assert troubled.compute_score(PAIRS, batch_size=2) == close_to(expected)
    for process in children():
        process.kill()
    with pytest.raises(DeviceDied):
        troubled.compute_score(PAIRS, batch_size=2)
    assert troubled.compute_score(PAIRS, batch_size=2) == close_to(expected)


def test_a_missing_device_is_told_by_name(bert_folder):
    for devices in ("cuda:63", ["cpu", "cuda:63"]):
        with pytest.raises(BadArgument, match="devices: cuda:63 can't be used here"):
            FlagReranker(bert_folder, devices=devices)


def test_processes_end_with_the_one_that_started_them(bert_folder):
    """Even if that one is killed."""
    script = (
        "import sys, time; from rerankers import FlagReranker\n"
        "if __name__ == '__main__':\n"
        f"    FlagReranker(sys.argv[1], devices={TWO}); print('open', flush=True); time.sleep(99)"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", script, str(bert_folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as parent:
        assert parent.stdout.readline() == "open\n"
        started = children(parent.pid)
        assert len(started) >= len(TWO)
        parent.kill()
    deadline = time.monotonic() + 30
    while any(process.is_running() for process in started) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(process.is_running() for process in started)


def children(pid=None):
    """The devices' processes."""
    all_there_are = psutil.Process(pid).children(recursive=True)
    return {process for process in all_there_are if "spawn_main" in " ".join(process.cmdline())}


@pytest.mark.parametrize(
    ("devices", "chosen"),
    [
        ("cpu", ["cpu"]),
        (["cpu"], ["cpu"]),
        (0, ["cuda:0"]),
        ([1], ["cuda:1"]),
        ("cuda:1", ["cuda:1"]),
        ([0, 1], ["cuda:0", "cuda:1"]),
        (["cpu", "cpu"], ["cpu", "cpu"]),
    ],
    ids=str,
)
def test_devices_are_chosen(devices, chosen):
    assert [str(device) for device in choose_devices(devices)] == chosen


@pytest.mark.parametrize("devices", [[], "gpu", [1.5], ["cpu", "gpu"]], ids=str)
def test_devices_that_make_no_sense_are_refused(devices):
    with pytest.raises(BadArgument, match="devices"):
        choose_devices(devices)


@pytest.mark.parametrize(
    ("devices", "use_fp16", "use_bf16", "dtype"),
    [
        pytest.param(["cpu"], False, False, torch.float32, id="full on a cpu"),
        pytest.param(["cpu"], True, False, torch.float32, id="no fp16 on a cpu"),
        pytest.param(["cpu"], False, True, torch.bfloat16, id="bf16 anywhere"),
        pytest.param(["cuda"], True, False, torch.float16, id="fp16 on a gpu"),
        pytest.param(["cuda"], False, False, torch.float32, id="full by default"),
        pytest.param([0, "cpu"], True, False, torch.float32, id="no fp16 beside a cpu"),
    ],
)
def test_precision_is_chosen(devices, use_fp16, use_bf16, dtype):
    assert choose_dtype(choose_devices(devices), use_fp16, use_bf16) is dtype


def test_two_precisions_are_refused():
    with pytest.raises(BadArgument, match="use_fp16, use_bf16"):
        choose_dtype(choose_devices("cpu"), use_fp16=True, use_bf16=True)

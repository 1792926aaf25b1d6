"""Trainings as a whole: killed and resumed, in several processes, stopped early, merged, described."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from rerankers import BadArgument, FlagAutoReranker, LightWeightFlagLLMReranker
from rerankers.finetune.merge import main as merge
from rerankers.finetune.run import find_checkpoint
from tests.rerankers.training import (
    LORA,
    PAIRS,
    PROMPTED,
    ROWS,
    list_arguments,
    make_still,
    read_figures,
    same_weights,
    train,
    write_rows,
)

ROOT = Path(__file__).parents[2]
SECONDS = 120
"""How long a process may take on a busy machine."""
NDCG = "eval_ndcg@10"
MANY_ROWS = [row | {"query": f"{row['query']} {word}"} for row in ROWS for word in ("now", "then", "here")]


@pytest.fixture
def train_file(tmp_path):
    return write_rows(tmp_path / "train.jsonl", MANY_ROWS)


@pytest.fixture
def eval_file(tmp_path):
    return write_rows(tmp_path / "eval.jsonl")


def start(module, arguments, **more):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen([sys.executable, "-m", *module, *arguments], env=environment, cwd=ROOT, **more)


@pytest.mark.parametrize("name", ["bert", "gemma"])
def test_a_resumed_training_is_as_if_it_had_not_been_interrupted(request, name, train_file, tmp_path):
    """With dropout, in the middle of the second epoch; the log has every step once."""
    base = request.getfixturevalue(f"{name}_folder")
    more = [*PROMPTED, "--compress_layers", "1", "2", "3"] if name == "gemma" else []
    steps = ["--max_steps", "14", "--logging_steps", "1", "--save_strategy", "steps", "--save_steps", "11"]
    options = [*LORA, "--lora_dropout", "0.1", *more, *steps]
    whole = train(base, train_file, tmp_path / "whole", *options)
    written = tmp_path / "resumed"
    written.mkdir()
    (tmp_path / "whole" / "checkpoint-11").rename(written / "checkpoint-11")
    resumed = train(base, train_file, written, *options, "--resume_from_checkpoint", "latest")
    assert same_weights(whole, resumed)
    assert read_figures(written) == read_figures(tmp_path / "whole")
    assert len(read_figures(written)) == 14
    seconds = read_figures(written, "seconds")
    assert seconds == sorted(seconds)
    assert seconds[:11] == read_figures(tmp_path / "whole", "seconds")[:11]


def test_a_killed_training_goes_on_by_the_same_command(bert_folder, train_file, tmp_path):
    """kill -9 anywhere behind a checkpoint; half-written ones are passed over."""
    options = [*LORA, "--max_steps", "40", "--logging_steps", "1", "--save_strategy", "steps"]
    options += ["--save_steps", "2", "--resume_from_checkpoint", "latest"]
    whole = train(bert_folder, train_file, tmp_path / "whole", *options)
    written = tmp_path / "killed"
    arguments = list_arguments(bert_folder, train_file, written, *options)
    process = start(
        ["rerankers", "finetune"], arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + SECONDS
        while not (written / "checkpoint-4" / "trainer_state.json").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    (written / "checkpoint-90").mkdir()  # no state in it: the kill came before
    resumed = train(bert_folder, train_file, written, *options)
    assert same_weights(whole, resumed)
    assert read_figures(written) == read_figures(tmp_path / "whole")


def test_the_newest_whole_checkpoint_is_found(tmp_path):
    class Asked:
        output_dir = str(tmp_path)
        resume_from_checkpoint = "latest"

    assert find_checkpoint(Asked) is None
    for step, state in ((2, "{}"), (10, "{}"), (12, '{"half": '), (14, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert find_checkpoint(Asked) == str(tmp_path / "checkpoint-10")


@pytest.mark.parametrize("name", ["bert", "gemma"])
def test_two_processes_train_as_one_with_the_same_global_batch(
    request, name, train_file, eval_file, tmp_path
):
    """torchrun on CPUs; forward passes are small, so that a step has several. Evaluation is shared."""
    base = make_still(request.getfixturevalue(f"{name}_folder"), tmp_path)
    options = [*LORA, "--lora_dropout", "0", "--max_steps", "4", "--optim", "sgd", "--logging_steps", "1"]
    options += ["--eval_data", eval_file, "--token_budget", "60"]
    options += [*PROMPTED, "--compress_layers", "1", "2", "3"] if name != "bert" else []
    train(base, train_file, tmp_path / "one", *options, "--per_device_train_batch_size", "4")
    arguments = list_arguments(base, train_file, tmp_path / "two", *options)
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "rerankers.finetune"]
    process = start(launch, arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        told, _ = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, told
    one, two = (load_file(tmp_path / which / "adapter_model.safetensors") for which in ("one", "two"))
    for weight in one:
        assert (one[weight] - two[weight]).abs().max() < 1e-5, weight
    assert read_figures(tmp_path / "two") == pytest.approx(read_figures(tmp_path / "one"), abs=1e-4)
    assert read_figures(tmp_path / "two", NDCG) == pytest.approx(
        read_figures(tmp_path / "one", NDCG), abs=1e-6
    )


def test_training_stops_when_ndcg_gets_no_better_and_keeps_the_best(
    bert_folder, train_file, eval_file, tmp_path
):
    """The second evaluation is never better here than the first, as the figure is 1 at most."""
    written = tmp_path / "written"
    options = ["--max_steps", "60", "--learning_rate", "3e-3", "--eval_data", eval_file]
    options += [
        "--eval_strategy",
        "steps",
        "--eval_steps",
        "5",
        "--save_strategy",
        "steps",
        "--save_steps",
        "5",
    ]
    train(
        bert_folder,
        train_file,
        written,
        *options,
        "--early_stopping_patience",
        "2",
        "--save_total_limit",
        "4",
    )
    *during, final = read_figures(written, NDCG)
    best = max(during)
    assert len(during) == during.index(best) + 3 < 12
    assert final == pytest.approx(best)
    reranker = FlagAutoReranker.from_finetuned(written, devices="cpu")
    step = 5 * (during.index(best) + 1)
    checkpoint = FlagAutoReranker.from_finetuned(written / f"checkpoint-{step}", devices="cpu")
    assert reranker.compute_score(PAIRS) == checkpoint.compute_score(PAIRS)


def test_the_card_tells_what_was_trained_on_what_and_what_came_of_it(
    bert_folder, train_file, eval_file, tmp_path
):
    written = tmp_path / "written"
    train(bert_folder, train_file, written, *LORA, "--eval_data", eval_file, "--logging_steps", "1")
    card = (written / "README.md").read_text()
    for part in (
        f'base_model: "{bert_folder}"',
        "encoder-only-base",
        f"| train | `train.jsonl` | 18 | `{hashlib.sha256(train_file.read_bytes()).hexdigest()}` |",
        f"| eval | `eval.jsonl` | 6 | `{hashlib.sha256(eval_file.read_bytes()).hexdigest()}` |",
        f"| 1 | 0.11 | loss | {read_figures(written)[0]:.4f} |",
        f"| eval_ndcg@10 | {read_figures(written, NDCG)[-1]:.4f} |",
        "| `lora_rank` | `4` |",
        "| transformers | ",
    ):
        assert part in card


@pytest.mark.parametrize("name", ["bert", "llama", "minicpm", "gemma"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_merged_adapters_score_as_by_peft_path(request, name, dtype, train_file, tmp_path):
    """The whole model loads by itself; nothing is written over."""
    base = request.getfixturevalue(f"{name}_folder")
    train(base, train_file, tmp_path / "adapter", *LORA, *([] if name == "bert" else PROMPTED))
    merge([str(tmp_path / "adapter"), "--output_dir", str(tmp_path / "whole"), "--dtype", dtype])
    by_adapter = FlagAutoReranker.from_finetuned(tmp_path / "adapter", devices="cpu")
    merged = FlagAutoReranker.from_finetuned(tmp_path / "whole", devices="cpu")
    tolerance = 1e-4 if dtype == "float32" else 0.3
    assert merged.compute_score(PAIRS) == pytest.approx(by_adapter.compute_score(PAIRS), abs=tolerance)
    weights = load_file(tmp_path / "whole" / "model.safetensors")
    assert {str(tensor.dtype) for tensor in weights.values()} == {f"torch.{dtype}"}
    with pytest.raises(BadArgument, match="--output_dir"):
        merge([str(tmp_path / "adapter"), "--output_dir", str(tmp_path / "whole")])
    with pytest.raises(BadArgument, match="--peft_path"):
        merge([str(base), "--output_dir", str(tmp_path / "new")])


def test_several_adapters_are_merged_in_order(gemma_folder, train_file, tmp_path):
    """The second one was trained over the first."""
    options = [*LORA, *PROMPTED]
    train(gemma_folder, train_file, tmp_path / "first", *options)
    second = ["--raw_peft", tmp_path / "first", "--save_merged_lora_model"]
    train(gemma_folder, train_file, tmp_path / "second", *options, *second)
    paths = [str(tmp_path / name) for name in ("first", "second")]
    merge([str(gemma_folder), "--peft_path", *paths, "--output_dir", str(tmp_path / "whole")])
    found, expected = (
        LightWeightFlagLLMReranker(folder, devices="cpu").compute_score(PAIRS)
        for folder in (tmp_path / "whole", tmp_path / "second" / "merged_model")
    )
    assert found == pytest.approx(expected, abs=1e-5)


def test_tensorboard_and_progress_are_transformers_own(bert_folder, train_file, tmp_path):
    """A report that is not installed is refused by name."""
    pytest.importorskip("tensorboard")
    options = ["--report_to", "tensorboard", "--logging_steps", "1"]
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(tmp_path / "board")
    try:
        train(bert_folder, train_file, tmp_path / "written", *options)
    finally:
        del os.environ["TENSORBOARD_LOGGING_DIR"]
    assert list((tmp_path / "board").rglob("events*"))

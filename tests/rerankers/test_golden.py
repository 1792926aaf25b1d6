"""Ids, scores and training losses agree with those recorded from the published implementation."""

import json

import pytest
import torch

from rerankers import FlagReranker
from rerankers.finetune.arguments import DataOptions
from rerankers.finetune.loss import compute_group_loss
from rerankers.finetune.run import read_limits
from rerankers.sequences import Limits

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def model_folder(golden):
    return golden[0] / "models" / "xlmr-tiny"


@pytest.fixture(scope="module")
def cases(golden):
    return golden[1]["families"]["encoder"]["cases"]


def test_scores_agree_with_the_recorded_ones(golden, cases, model_folder):
    """Every recorded call, with its constructor's and its own arguments."""
    for case in cases:
        reranker = FlagReranker(model_folder, devices="cpu", **case["ctor"])
        pairs = [golden[1]["pairs"][i] for i in case["pair_indices"]]
        scores = reranker.compute_score(pairs, **case["call"])
        assert scores == pytest.approx(case["scores"], abs=TOLERANCE), case["name"]


def test_ids_agree_with_the_recorded_ones(golden, cases, model_folder):
    """Also where the query leaves the passage no room, and for special tokens typed into a text."""
    reranker = FlagReranker(model_folder, devices="cpu")
    for case in cases:
        arguments = {**case["ctor"], **case["call"]}
        if any("instruction" in name for name in arguments):
            continue
        total = arguments.get("max_length", 512)
        limits = Limits(arguments.get("query_max_length") or total * 3 // 4, total, total)
        pairs = [tuple(golden[1]["pairs"][i]) for i in case["pair_indices"]]
        assert [row["input_ids"] for row in reranker.encoder.encode(pairs, limits)] == case["input_ids"], (
            case["name"]
        )


@pytest.mark.parametrize("distil", [False, True], ids=["labels", "labels and teacher"])
def test_training_batch_agrees_with_the_recorded_one(golden, model_folder, distil):
    """The ids of two groups, and the loss of their scores (recorded under dropout, so not to be repeated)."""
    recorded = json.loads((golden[0] / "golden_finetune.json").read_text())
    case = next(c for c in recorded["cases"] if c["family"] == "encoder" and c["kd"] == distil)
    pairs = _picked_pairs(recorded["rows"], case["picked"])
    rows = FlagReranker(model_folder, devices="cpu").encoder.encode(pairs, read_limits(DataOptions([])))
    recorded_rows = zip(case["input_ids"], case["attention_mask"], strict=True)
    assert [row["input_ids"] for row in rows] == [ids[: sum(mask)] for ids, mask in recorded_rows]
    teacher_scores = torch.tensor(case["teacher_scores"]).view(-1, 4) if distil else None
    loss = compute_group_loss(torch.tensor(case["scores"]).view(-1, 4), teacher_scores, distillation_weight=1)
    assert loss.item() == pytest.approx(case["loss"], abs=TOLERANCE)


def _picked_pairs(rows, picked):
    pairs = []
    for row, (_, positive), (_, negatives) in zip(rows, picked[::2], picked[1::2], strict=False):
        pairs += [(row["query"], row["pos"][positive]), *((row["query"], row["neg"][i]) for i in negatives)]
    return pairs

"""Ids, scores and training losses agree with those recorded from the published implementation."""

import json

import pytest
import torch

from rerankers import (
    FlagLLMReranker,
    FlagReranker,
    LayerWiseFlagLLMReranker,
    LightWeightFlagLLMReranker,
    RerankerConfig,
    RerankerModelClass,
)
from rerankers.finetune.arguments import DataOptions, ModelOptions
from rerankers.finetune.loss import compute_loss
from rerankers.finetune.prepare import make_student

TOLERANCE = 1e-4
BF16_TOLERANCE = 0.15  # the published code's own scores move by 0.1


FAMILIES = {
    "encoder": FlagReranker,
    "decoder": FlagLLMReranker,
    "layerwise": LayerWiseFlagLLMReranker,
    "lightweight": LightWeightFlagLLMReranker,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_and_scores_agree_with_the_recorded_ones(golden, family):
    """Every recorded call; also where a query leaves no room, and for special tokens typed into a text."""
    folder, recorded = golden
    for case in recorded["families"][family]["cases"]:
        model_folder = folder / "models" / recorded["families"][family]["model"]
        reranker = FAMILIES[family](model_folder, devices="cpu", **case["ctor"])
        pairs = [tuple(recorded["pairs"][i]) for i in case["pair_indices"]]
        encoded = []
        reranker.encode_pairs = keep(encoded, reranker.encode_pairs)
        scores = torch.tensor(reranker.compute_score(pairs, **case["call"]))
        tolerance = BF16_TOLERANCE if case["ctor"].get("use_bf16") else TOLERANCE
        assert (scores - torch.tensor(case["scores"])).abs().max() < tolerance, case["name"]
        ids = dict(zip(dict.fromkeys(pairs), [row["input_ids"] for row in encoded], strict=True))
        assert [ids[pair] for pair in pairs] == case["input_ids"], case["name"]


def keep(into, function):
    """The same function, but what it returns is also kept."""

    def call(*arguments):
        into.extend(found := function(*arguments))
        return found

    return call


def test_capped_attention_agrees_with_the_recorded_scores(golden):
    """The switch that the published code does not have."""
    folder, recorded = golden
    reranker = LightWeightFlagLLMReranker(
        folder / "models" / "gemma2-lightweight-tiny", devices="cpu", caps_attention=True
    )
    for case in json.loads((folder / "golden_lightweight_softcap.json").read_text())["cases"]:
        scores = torch.tensor(reranker.compute_score(recorded["pairs"], **case["call"]))
        assert (scores - torch.tensor(case["scores"])).abs().max() < TOLERANCE, case["name"]


@pytest.mark.parametrize("distil", [False, True], ids=["labels", "labels and teacher"])
@pytest.mark.parametrize("family", ["encoder", "decoder", "layerwise"])
def test_training_batch_agrees_with_the_recorded_one(golden, family, distil):
    """The ids of two groups, their scores and loss, and the gradient, where no dropout was drawn.

    The published code trains only a layer-wise model's last layer, so the loss of that one is compared.
    """
    recorded = json.loads((golden[0] / "golden_finetune.json").read_text())
    case = next(c for c in recorded["cases"] if c["family"] == family and c["kd"] == distil)
    model_folder = golden[0] / "models" / golden[1]["families"][family]["model"]
    student = make_student(
        RerankerConfig(FAMILIES_TRAINED[family]), ModelOptions(str(model_folder)), DataOptions([])
    )
    model, _ = student.load()
    rows, expected = [], []
    for group, prompt in _picked_groups(recorded["rows"], case["picked"], family):
        rows += student.encode(group, prompt)
    for ids, mask in zip(case["input_ids"], case["attention_mask"], strict=True):
        expected.append([token for token, is_real in zip(ids, mask, strict=True) if is_real])
    assert [row["input_ids"] for row in rows] == expected

    scores = student.score(model, student.make_batch(rows), None)
    teacher_scores = torch.tensor(case["teacher_scores"]).view(-1, 4) if distil else None
    recorded_scores = torch.tensor(case["scores"]).view(1, -1)
    loss = compute_loss(recorded_scores.view(1, -1, 4), teacher_scores)
    assert loss.item() == pytest.approx(case["loss"], abs=TOLERANCE)
    if family == "encoder":
        return  # recorded under dropout, so not to be repeated
    assert (scores - recorded_scores).abs().max() < TOLERANCE
    compute_loss(scores.view(1, -1, 4), teacher_scores).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert torch.stack([g.norm() for g in gradients]).norm() == pytest.approx(case["grad_norm"], rel=1e-3)


FAMILIES_TRAINED = {
    "encoder": RerankerModelClass.ENCODER_ONLY_BASE,
    "decoder": RerankerModelClass.DECODER_ONLY_BASE,
    "layerwise": RerankerModelClass.DECODER_ONLY_LAYERWISE,
}


def _picked_groups(rows, picked, family):
    query_sign, passage_sign = ("", "") if family == "encoder" else ("A: ", "B: ")
    for row, (_, positive), (_, negatives) in zip(rows, picked[::2], picked[1::2], strict=False):
        passages = [row["pos"][positive], *(row["neg"][i] for i in negatives)]
        pairs = [(query_sign + row["query"], passage_sign + passage) for passage in passages]
        yield pairs, row["prompt"]

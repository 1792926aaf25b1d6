"""The trainer: transformers' own, with our loss over groups and without forward passes over padding."""

from collections.abc import Iterator
from typing import Any

import torch
from transformers import Trainer

from rerankers.finetune.loss import compute_group_loss
from rerankers.sequences import Batch, count_fitting


class GroupTrainer(Trainer):
    """Trains on the batches of ``GroupCollator``.

    Args:
        token_budget: padded tokens a forward pass may hold; a batch is passed in slices of like length.
        distillation_weight: see ``compute_group_loss``.
    """

    def __init__(
        self, *args: Any, group_size: int, token_budget: int, distillation_weight: float, **kwargs: Any
    ):
        super().__init__(*args, **kwargs)
        self.loss_is_scaled_for_ga = False  # ours is a mean over the batch
        self._group_size = group_size
        self._token_budget = token_budget
        self._distillation_weight = distillation_weight

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        teacher_scores = inputs.pop("teacher_scores", None)
        scores = score_batch(model, inputs, self._token_budget).view(-1, self._group_size)
        loss = compute_group_loss(scores, teacher_scores, self._distillation_weight)
        return (loss, {"scores": scores}) if return_outputs else loss


def score_batch(model: torch.nn.Module, batch: Batch, token_budget: int) -> torch.Tensor:
    """The logits (B,) of a padded batch, in its order, from forward passes over slices of like length."""
    lengths = batch["attention_mask"].sum(dim=1)
    order = lengths.argsort(descending=True, stable=True)
    parts = [
        model(**{name: column[rows, :longest] for name, column in batch.items()}).logits.view(-1)
        for rows, longest in _slice_by_length(order, lengths[order].tolist(), token_budget)
    ]
    return torch.cat(parts)[order.argsort()]


def _slice_by_length(
    order: torch.Tensor, lengths: list[int], token_budget: int
) -> Iterator[tuple[torch.Tensor, int]]:
    """Cut rows, longest first, into slices within the budget; each with its longest length."""
    start = 0
    while start < len(lengths):
        stop = start + count_fitting(lengths[start], token_budget, batch_size=len(lengths))
        yield order[start:stop], lengths[start]
        start = stop

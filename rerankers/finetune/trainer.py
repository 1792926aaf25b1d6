"""The trainer: transformers' own, with our loss over groups, our order of rows and nDCG as evaluation."""

import random
from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback

from rerankers.finetune.groups import Draw, DrawSampler, GroupCollator, GroupDataset
from rerankers.finetune.loss import compute_loss
from rerankers.finetune.ranking import NDCG, Candidates, measure_ranking
from rerankers.finetune.students import Student
from rerankers.sequences import Row
from rerankers.trained import write_arguments


class GroupTrainer(Trainer):
    """Trains on the batches of ``GroupCollator``.

    Args:
        eval_dataset: what is ranked to evaluate; None is nothing.
        arguments: what ``reranker.json`` beside the weights shall tell.
        distillation_weight: see ``compute_loss``.
    """

    train_dataset: GroupDataset
    eval_dataset: Sequence[Candidates] | None
    data_collator: GroupCollator

    def __init__(
        self,
        *args: Any,
        student: Student,
        arguments: dict[str, Any],
        distillation_weight: float,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.loss_is_scaled_for_ga = False  # ours is a mean over the batch
        self._student = student
        self._arguments = arguments
        self._distillation_weight = distillation_weight
        self._sampler = DrawSampler(len(self.train_dataset), self.args.seed)
        self.add_callback(_EpochTeller(self._sampler))

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        n_groups = len(inputs["places"]) // self.train_dataset.group_size
        step = f"{self.args.seed} step {self.state.global_step}"
        scores = self._score(model, inputs, step)
        scores = scores.view(len(scores), n_groups, -1)  # (K, groups, G)
        loss = compute_loss(scores, inputs.get("teacher_scores"), self._distillation_weight)
        return (loss, {"scores": scores}) if return_outputs else loss

    def evaluate(self, *_args: Any, metric_key_prefix: str = "eval", **_kwargs: Any) -> dict[str, float]:
        """Rank the evaluation rows, each process its share of them."""
        n_shares = 1 if self.is_sharded else self.args.world_size  # or forward passes would not meet
        candidates = self.eval_dataset or []
        share = candidates[self.args.process_index % n_shares :: n_shares]
        self.model_wrapped.eval()
        with torch.no_grad():
            found = measure_ranking(share, self._score_rows)
        total = torch.tensor([sum(found), len(found)], dtype=torch.float32, device=self.args.device)
        gained, n_queries = self.accelerator.reduce(total, "sum").tolist()
        metrics = {f"{metric_key_prefix}_{NDCG}": gained / n_queries}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    @property
    def is_sharded(self) -> bool:
        """Does no process hold all weights?"""
        return bool(self.is_fsdp_enabled or self.is_deepspeed_enabled)

    def _score_rows(self, rows: Sequence[Row]) -> torch.Tensor:
        batch = self._prepare_inputs(self.data_collator.cut(rows))
        with self.compute_loss_context_manager():
            return self._score(self.model_wrapped, batch, None)[0].float().cpu()

    def _score(self, model: torch.nn.Module, batch: dict[str, Any], step: str | None) -> torch.Tensor:
        """The logits (K, B) of a batch in its order; one step draws the same for all slices."""
        found = [
            self._student.score(model, part, None if step is None else random.Random(step))
            for part in batch["slices"]
        ]
        return torch.cat(found, dim=1)[:, batch["places"]]

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[Draw]:
        return self._sampler

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        if not self.args.should_save:
            return
        folder = str(output_dir or self.args.output_dir)
        write_arguments(folder, self._arguments)
        if not isinstance(self.model, PeftModel):
            self._student.finish(folder)


class _EpochTeller(TrainerCallback):
    """Tells the sampler the epoch, also in the middle of one that is resumed."""

    def __init__(self, sampler: DrawSampler) -> None:
        self._sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._sampler.epoch = int(state.epoch or 0)

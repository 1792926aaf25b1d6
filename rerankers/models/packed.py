"""Encoders of BERT's plan over sequences laid end to end: nothing is computed for padding.

Weights and modules are those of the model that transformers loaded, only the order of calls is ours. Of the
last layer just the first token of each sequence is computed, since the head reads no other.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import SequenceClassifierOutput

ROWS_AT_ONCE = 1024
"""Tokens in a feed-forward, which is four times as wide: larger blocks of memory are given back and
taken anew at every layer, a tenth of the time on a CPU."""


def _pool_and_classify(model: Any, first: Tensor) -> Any:
    return model.classifier(model.base_model.pooler(first))


def _classify(model: Any, first: Tensor) -> Any:
    return model.classifier(first)


HEADS: dict[str, Callable[[Any, Tensor], Any]] = {
    "bert": _pool_and_classify,
    "camembert": _classify,
    "electra": _classify,
    "roberta": _classify,
    "xlm-roberta": _classify,
}
"""Models of this plan, by ``model_type``: how their heads read logits (B, 1) from first tokens (B, 1, H)."""


def can_pack(model: nn.Module) -> bool:
    """Is this transformers' own model of that plan?"""
    config: Any = getattr(model, "config", None)
    is_own = type(model).__module__.startswith("transformers.models.")
    return is_own and config.model_type in HEADS and not config.is_decoder


def pack_forward(model: Any) -> None:
    """Have the model itself read packed batches, as ``PackedEncoder`` does: in training it is what is called,
    wrapped for adapters and for several processes, and what is saved.
    """
    packed = PackedEncoder(model).forward

    def forward(
        input_ids: Tensor, lengths: Tensor, token_type_ids: Tensor | None = None, **_unused: Any
    ) -> SequenceClassifierOutput:
        return packed(input_ids, lengths, token_type_ids)  # peft names all that the model could be given

    model.forward = forward


@dataclass(frozen=True)
class Run:
    """``n`` neighbouring sequences of one length."""

    n: int
    length: int


class PackedEncoder(nn.Module):
    """Gives the logits of a model that ``can_pack`` says yes to.

    Args:
        model: keeps its parts; must not be used otherwise.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner = model
        self.config = model.config
        self._padding_id: int | None = model.base_model.embeddings.position_embeddings.padding_idx

    def forward(
        self, input_ids: Tensor, lengths: Tensor, token_type_ids: Tensor | None = None
    ) -> SequenceClassifierOutput:
        """Score B sequences of N tokens in all.

        Args:
            input_ids, token_type_ids: (N,).
            lengths: (B,).

        Returns:
            With ``logits`` (B, 1).
        """
        runs = list(find_runs(lengths.tolist()))
        starts = lengths.cumsum(0) - lengths
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        hidden = self._embed(input_ids, token_type_ids, self._number(input_ids, starts, lengths))
        *layers, last_layer = self.inner.base_model.encoder.layer
        for layer in layers:
            hidden = _pass(layer, hidden, hidden, runs)
        first = _pass(last_layer, hidden[starts], hidden, runs)
        return SequenceClassifierOutput(logits=HEADS[self.config.model_type](self.inner, first[:, None]))

    def _number(self, input_ids: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
        """Positions (N,) in the sequences; RoBERTa's kin begin behind the padding id and skip its tokens."""
        counted = torch.ones_like(input_ids) if self._padding_id is None else input_ids != self._padding_id
        numbers = counted.cumsum(0)
        before = (numbers - counted.long())[starts].repeat_interleave(lengths)
        if self._padding_id is None:
            return numbers - before - 1
        return (numbers - before) * counted + self._padding_id

    def _embed(self, input_ids: Tensor, token_type_ids: Tensor, position_ids: Tensor) -> Tensor:
        base = self.inner.base_model
        hidden: Tensor = base.embeddings(
            input_ids=input_ids[None], token_type_ids=token_type_ids[None], position_ids=position_ids[None]
        )
        if hasattr(base, "embeddings_project"):  # an ELECTRA with narrow embeddings
            hidden = base.embeddings_project(hidden)
        return hidden[0]


def find_runs(lengths: Sequence[int]) -> Iterator[Run]:
    """Sequences of like length stand together, so that there are fewer runs than sequences."""
    for length, alike in groupby(lengths):
        yield Run(len(list(alike)), length)


def _pass(layer: Any, hidden: Tensor, context: Tensor, runs: Sequence[Run]) -> Tensor:
    """Pass a layer with all tokens (N, H) of ``context``, or with only the first of each sequence (B, H)."""
    attention = layer.attention.self
    n_tokens = [run.n * run.length for run in runs]
    n_places = n_tokens if len(hidden) == len(context) else [run.n for run in runs]
    # split, not sliced: a slice's gradient would be as large as the whole
    by_run = zip(
        attention.query(hidden).split(n_places),
        attention.key(context).split(n_tokens),
        attention.value(context).split(n_tokens),
        strict=True,
    )
    dropout = attention.dropout.p if attention.training else 0.0
    mixed = []
    for run, parts in zip(runs, by_run, strict=True):
        query, key, value = (
            part.view(run.n, -1, attention.num_attention_heads, attention.attention_head_size).transpose(1, 2)
            for part in parts
        )
        attended = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        mixed.append(attended.transpose(1, 2).reshape(len(parts[0]), -1))
    blocks = zip(torch.split(torch.cat(mixed), ROWS_AT_ONCE), torch.split(hidden, ROWS_AT_ONCE), strict=True)
    return torch.cat([_feed_forward(layer, *block) for block in blocks])


def _feed_forward(layer: Any, mixed: Tensor, hidden: Tensor) -> Tensor:
    hidden = layer.attention.output(mixed, hidden)
    out: Tensor = layer.output(layer.intermediate(hidden), hidden)
    return out

"""The scoring pipeline, written once for all families: pairs of texts in, one number each out."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self, overload

import torch
from transformers import PreTrainedTokenizerBase

from rerankers.devices import (
    Devices,
    choose_devices,
    default_token_budget,
    is_out_of_memory,
    refuse_missing_device,
)
from rerankers.errors import BadArgument, BadPairs, BadScore
from rerankers.pool import DevicePool, LoadModel
from rerankers.sequences import Batch, Limits, Pair, Row, count_fitting, pad_rows, split_rows

logger = logging.getLogger(__name__)

PairLike = tuple[str, str] | list[str]


@dataclass(frozen=True)
class Instruction:
    """A text put before every query, or every passage; a typed ``\\n`` in the format is a new line."""

    text: str | None
    format: str

    def apply(self, text: str) -> str:
        if self.text is None:
            return text
        return self.format.replace("\\n", "\n").format(self.text, text)


@dataclass(frozen=True)
class ScoreOptions:
    """What one call of ``compute_score`` goes by: its own arguments, else the constructor's.

    Args:
        batch_size: the most pairs in one forward pass.
        query_max_length: the most tokens of a query; None is three quarters of ``max_length``.
        max_length: the most tokens of a pair.
        normalize: give probabilities (0 to 1) instead of logits.
        passage_max_length: the most tokens of a passage; None is as many as the pair has room for.
    """

    batch_size: int = 128
    query_max_length: int | None = None
    max_length: int = 512
    normalize: bool = False
    passage_max_length: int | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "query_max_length", "max_length", "passage_max_length"):
            value = getattr(self, name)
            if value is not None and not is_count(value):
                raise BadArgument(f"{name}: expected a whole number of at least 1, found {value!r}")

    def override(self, overrides: Mapping[str, Any]) -> Self:
        """The same options with those that are given and not None.

        Raises:
            TypeError: one of them is unknown.
            BadArgument: its value can't be used.
        """
        known = [field.name for field in fields(self)]
        for name in overrides:
            if name not in known:
                raise TypeError(f"compute_score() knows no argument {name!r}, only {', '.join(known)}")
        return replace(self, **{name: value for name, value in overrides.items() if value is not None})

    @property
    def limits(self) -> Limits:
        query = self.query_max_length or self.max_length * 3 // 4
        return Limits(query, self.passage_max_length or self.max_length, total=self.max_length)


class AbsReranker(ABC):
    """A model that scores (query, passage) pairs. Many threads may call ``compute_score`` of one reranker.

    A family says how its tokenizer and model are loaded (its constructor, which calls ``_take_model``), how
    pairs become rows of ids (``encode_pairs``) and how the model scores a batch of rows (``score_batch``).

    Args:
        query_instruction: put before every query.
        passage_instruction: put before every passage.
        devices: where to run; on several, batches go to whichever is free.
        options: what a call of ``compute_score`` goes by that says nothing else.
    """

    model: torch.nn.Module
    """On the device; where there are several it has no weights, since each device's process has its own."""
    tokenizer: PreTrainedTokenizerBase

    def __init__(
        self,
        query_instruction: Instruction,
        passage_instruction: Instruction,
        devices: Devices,
        options: ScoreOptions,
    ) -> None:
        self.devices = choose_devices(devices)
        self.device = self.devices[0]
        self._instructions = (query_instruction, passage_instruction)
        self._defaults = options
        self._token_budget = default_token_budget(self.devices[0])
        self._pool: DevicePool | None = None

    def _take_model(self, load: LoadModel) -> None:
        """Load the model onto the one device, or have each device's process load its own."""
        if len(self.devices) == 1:
            self.open_on(self.devices[0], load)
            return
        self.model = load(False)
        self._pool = DevicePool(self, load, self.devices)

    def open_on(self, device: torch.device, load: LoadModel) -> None:
        """Load the model onto a device.

        Raises:
            BadArgument: the device is not there.
            BadCheckpoint: the model can't be loaded.
        """
        refuse_missing_device(device)
        self.device = device
        reads_weights = device.type != "meta"
        self.model = self.adapt_model(load(reads_weights).eval()).to(device)

    def adapt_model(self, model: torch.nn.Module) -> torch.nn.Module:
        """What a family does to a loaded model before it scores on ``self.device``."""
        return model

    def __getstate__(self) -> dict[str, Any]:
        """Without model and processes, which another process has no use for."""
        return {name: value for name, value in vars(self).items() if name not in ("model", "_pool")}

    @abstractmethod
    def encode_pairs(self, pairs: Sequence[Pair], options: Any) -> list[Row]:
        """Turn P pairs, instructions applied, into P rows of ids, in order."""

    def make_batch(self, rows: Sequence[Row]) -> Batch:
        """Put B rows together as the model reads them; filled up to the longest, for most."""
        return pad_rows(rows, self.tokenizer.pad_token_id, self.tokenizer.padding_side)

    @abstractmethod
    def score_batch(self, batch: Batch, options: Any) -> torch.Tensor:
        """The logits (K, B) of B rows on the device, at K of the model's layers; K is 1 for most families."""

    @overload
    def compute_score(self, sentence_pairs: PairLike, **overrides: Any) -> float: ...

    @overload
    def compute_score(self, sentence_pairs: Sequence[PairLike], **overrides: Any) -> list[float]: ...

    def compute_score(self, sentence_pairs: PairLike | Sequence[PairLike], **overrides: Any) -> Any:
        """Score one pair, or a list of pairs.

        Args:
            sentence_pairs: one (query, passage), or P of them.
            **overrides: this call's ``batch_size``, ``query_max_length``, ``max_length``, ``normalize``, and
                what else the family's options hold, instead of the constructor's; None is no override.

        Returns:
            For one pair its score, for P pairs their P scores in order. Equal pairs get equal scores. Where
            scores at several layers are asked for: a list of these, one a layer, lowest first.

        Raises:
            BadPairs: an element is not two texts; the message says which one.
            TypeError: an override is unknown to the family.
            BadArgument: its value can't be used.
            BadScore: the model gave a pair no finite number; the message says which one.
        """
        options = self._defaults.override(overrides)
        pairs, is_single = read_pairs(sentence_pairs)
        by_layer = self._score_pairs(pairs, options)
        if is_single:
            by_layer = [scores[0] for scores in by_layer]
        return by_layer[0] if len(by_layer) == 1 else by_layer

    def encode(self, sentence_pairs: Sequence[PairLike]) -> list[Row]:
        """The first half of `compute_score`: P pairs to P rows of ids. Threads may encode while others score.

        Raises:
            BadPairs: an element is not two texts; the message says which one.
        """
        pairs, _ = read_pairs(sentence_pairs)
        return self._encode(pairs, self._defaults)

    def score_encoded(self, rows: Sequence[Row]) -> list[float]:
        """The second half: P rows, of any calls of `encode`, to P scores in order; they may be no numbers.

        Raises:
            BadArgument: the reranker scores at several layers.
        """
        if not rows:
            return []
        by_layer = self._tell(self._score_rows(rows, self._defaults), self._defaults)
        if len(by_layer) > 1:
            raise BadArgument(f"cutoff_layers: expected one layer, found {len(by_layer)}")
        return list(by_layer[0])

    @property
    def max_length(self) -> int:
        """The most tokens of a pair."""
        return self._defaults.max_length

    @property
    def tokens_at_once(self) -> int:
        """How many tokens, filling included, its devices compute in one forward pass."""
        return self._token_budget * len(self.devices)

    def _score_pairs(self, pairs: list[Pair], options: ScoreOptions) -> list[Any]:
        """K lists of P scores; one empty list when there are no pairs."""
        if not pairs:
            return [[]]
        distinct = list(dict.fromkeys(pairs))
        rows = self._encode(distinct, options)
        place = {pair: i for i, pair in enumerate(distinct)}
        scores = self._score_rows(rows, options)[:, [place[pair] for pair in pairs]]  # (K, P)
        _refuse_no_number(scores, pairs)
        return self._tell(scores, options)

    def _encode(self, pairs: Sequence[Pair], options: ScoreOptions) -> list[Row]:
        return self.encode_pairs([self._instruct(pair) for pair in pairs], options)

    def _tell(self, scores: torch.Tensor, options: ScoreOptions) -> list[list[float]]:
        """Logits (K, P) as K lists of what the caller wants to have: logits or probabilities."""
        told = scores.double()
        return list((told.sigmoid() if options.normalize else told).tolist())

    def _instruct(self, pair: Pair) -> Pair:
        for_query, for_passage = self._instructions
        return for_query.apply(pair[0]), for_passage.apply(pair[1])

    def _score_rows(self, rows: Sequence[Row], options: ScoreOptions) -> torch.Tensor:
        """The logits (K, P) of P rows; batches have rows of like length."""
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]["input_ids"]))
        longest_first = [rows[i] for i in order]
        if self._pool is None:
            found = self.score_sorted(longest_first, options)
        else:
            batches = split_rows(longest_first, self._token_budget, options.batch_size)
            found = self._pool.score(batches, options)
        scores = torch.empty_like(found)
        scores[:, order] = found
        return scores

    def score_sorted(self, rows: Sequence[Row], options: ScoreOptions) -> torch.Tensor:
        """The logits (K, P) of P rows, the longest first, so that memory runs out early or never."""
        scores = []
        start = 0
        while start < len(rows):
            longest = len(rows[start]["input_ids"])
            n_rows = count_fitting(longest, self._token_budget, options.batch_size)
            batch = rows[start : start + n_rows]
            found = self._try_batch(batch, options)
            if found is None:
                self._shrink_budget(longest * len(batch))
                continue
            scores.append(found)
            start += len(batch)
        return torch.cat(scores, dim=1)

    def _try_batch(self, rows: Sequence[Row], options: ScoreOptions) -> torch.Tensor | None:
        """The logits (K, B) of one batch; None when it needs too much memory and could be smaller."""
        batch = self.make_batch(rows)
        try:
            with torch.inference_mode():
                on_device = {name: column.to(self.device) for name, column in batch.items()}
                return self.score_batch(on_device, options).float().cpu()
        except RuntimeError as error:
            if len(rows) == 1 or not is_out_of_memory(error):
                raise
        return None

    def _shrink_budget(self, tokens_tried: int) -> None:
        """Remember, for this call and later ones, that so many tokens were too many."""
        self._token_budget = min(self._token_budget, tokens_tried // 2)
        logger.warning("out of memory: at most %d tokens a forward pass from now on", self._token_budget)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def read_pairs(given: Any) -> tuple[list[Pair], bool]:
    """Check what a caller handed in; the pairs, and whether it was a single one."""
    if isinstance(given, str) or not hasattr(given, "__iter__"):
        raise BadPairs(f"expected a (query, passage) pair or a list of them, found {type(given).__name__}")
    elements = list(given)
    if elements and isinstance(elements[0], str):
        if not _is_pair(elements):
            raise BadPairs(f"a single pair is two texts, (query, passage), not {len(elements)} elements")
        return [_clean(elements)], True
    for i, element in enumerate(elements):
        if not _is_pair(element):
            raise BadPairs(f"pair {i}: expected two texts, (query, passage), found {_describe(element)}")
    return [_clean(element) for element in elements], False


def is_count(value: object) -> bool:
    """Is this a whole number of at least 1?"""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_pair(element: Any) -> bool:
    if isinstance(element, str) or not hasattr(element, "__len__") or len(element) != 2:
        return False
    return all(isinstance(text, str) for text in element)


def _clean(pair: Sequence[str]) -> Pair:
    """Replace halves of surrogate pairs, which JSON can carry and no tokenizer reads, by U+FFFD."""
    query, passage = (text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in pair)
    return query, passage


def _describe(element: Any) -> str:
    if isinstance(element, str) or not hasattr(element, "__len__"):
        return type(element).__name__
    return f"{type(element).__name__} of {', '.join(type(part).__name__ for part in element) or 'nothing'}"


def _refuse_no_number(scores: torch.Tensor, pairs: Sequence[Pair]) -> None:
    if bool(scores.isfinite().all()):
        return
    layer, i = (int(place) for place in (~scores.isfinite()).nonzero()[0])
    query, passage = pairs[i]
    raise BadScore(
        f"pair {i} (query of {len(query)} characters, passage of {len(passage)}): "
        f"the model gave {scores[layer, i].item()}; its weights are damaged, or fp16 overflows (try use_bf16)"
    )

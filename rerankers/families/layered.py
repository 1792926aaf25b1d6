"""The two families of language models that score at any layer: layer-wise, and lightweight."""

import logging
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike, fspath
from typing import Any, Unpack

import torch

from rerankers.base import is_count
from rerankers.detection import RerankerModelClass
from rerankers.errors import BadArgument
from rerankers.families.decoder import PROMPT, PromptArguments, PromptOptions, PromptReranker
from rerankers.loading import load_native
from rerankers.models.layered import Compression, LayeredReranker
from rerankers.models.published import make_cost_wise_gemma, make_minicpm
from rerankers.sequences import Batch, Pair, Row
from rerankers.trained import read_arguments

logger = logging.getLogger(__name__)

LIGHTWEIGHT_PROMPT = "Predict whether passage B contains an answer to query A."


@dataclass(frozen=True)
class LayerOptions(PromptOptions):
    """Those of language models and ``cutoff_layers``, the layers to score at; None is the last one."""

    cutoff_layers: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cutoff_layers is not None:
            _refuse_no_layers("cutoff_layers", self.wanted_layers)

    @property
    def wanted_layers(self) -> tuple[int, ...]:
        """What ``cutoff_layers`` names, in the caller's order."""
        wanted = self.cutoff_layers
        return () if wanted is None else (wanted,) if isinstance(wanted, int) else tuple(wanted)


@dataclass(frozen=True)
class CompressOptions(LayerOptions):
    """Those of the layered families and how passages are compressed on their way through the layers.

    Args:
        compress_layers: before each of these layers ``compress_ratio`` neighbouring tokens become one.
        compress_ratio: 1 or None is no compression.
        compress_layer: the older name of ``compress_layers``.
    """

    compress_layers: Sequence[int] = (8,)
    compress_ratio: int | None = 1
    compress_layer: Sequence[int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compress_ratio is not None and not is_count(self.compress_ratio):
            raise BadArgument(
                f"compress_ratio: expected a whole number above 0, found {self.compress_ratio!r}"
            )
        for name in ("compress_layers", "compress_layer"):
            layers = getattr(self, name)
            if layers is not None:
                _refuse_no_layers(name, layers)

    @property
    def compression(self) -> Compression:
        layers = self.compress_layers if self.compress_layer is None else self.compress_layer
        return Compression(frozenset(layers), self.compress_ratio or 1)


class LayeredFamily(PromptReranker):
    """What the two families share: which layers and heads score, and the call of the model.

    Args:
        heads_by_layer: let every layer be read by the head that was trained for it, as nobody does who runs
            the published code, and so as published scores are not (see docs/rerankers.md). None is what the
            model, or its adapter, was fine-tuned with here, else no.
    """

    needs_bos = True
    padding_side = "right"
    model: LayeredReranker
    heads_by_layer: bool

    @abstractmethod
    def choose_heads(self, wanted: Sequence[int], layers: Sequence[int]) -> list[int]:
        """The head's place for each layer, as the published code takes it.

        Args:
            wanted: the layers that have a score, in the caller's order, repeats kept.
            layers: the same ascending, each once.
        """

    def encode_pairs(self, pairs: Sequence[Pair], options: Any) -> list[Row]:
        self._choose_layers(options)  # a mistake is told before any work
        dropped = set(options.wanted_layers) - set(self.model.layout.scored_layers)
        if dropped:
            logger.warning("cutoff_layers: this model has no scores at layers %s", sorted(dropped))
        return super().encode_pairs(pairs, options)

    def score_batch(self, batch: Batch, options: LayerOptions) -> torch.Tensor:
        layers, heads = self._choose_layers(options)
        compression = options.compression if isinstance(options, CompressOptions) else Compression()
        scores: torch.Tensor = self.model(**batch, layers=layers, heads=heads, compression=compression)
        return scores

    def _choose_layers(self, options: LayerOptions) -> tuple[list[int], list[int]]:
        scored = self.model.layout.scored_layers
        wanted = [layer for layer in options.wanted_layers or (scored[-1],) if layer in scored]
        if not wanted:
            raise BadArgument(
                f"cutoff_layers: {options.cutoff_layers!r}: this model has scores at layers {list(scored)}"
            )
        layers = sorted(set(wanted))
        if self.heads_by_layer:
            return layers, [scored.index(layer) for layer in layers]
        return layers, self.choose_heads(wanted, layers)


class LayerWiseFlagLLMReranker(LayeredFamily):
    """A language model with a score at every layer from some layer on: fewer layers, sooner done.

    Args:
        model_name_or_path: folder (or hub name) of the model.
        peft_path: folder of an adapter made for that model; merged into it.
        use_fp16: half precision, where the device is not a CPU.
        use_bf16: half precision with the range of fp32, on any device.
        cutoff_layers: the layers to score at, counted as layers passed; None is the last one.
        heads_by_layer: see ``LayeredFamily``; matters for layers that are not asked for in ascending order.
        **arguments: see ``PromptArguments``.

    Raises:
        BadCheckpoint: the folder holds no such model, or the adapter is not for it.
        BadArgument: an argument's value can't be used.
    """

    family = RerankerModelClass.DECODER_ONLY_LAYERWISE
    default_prompt = PROMPT

    def __init__(
        self,
        model_name_or_path: str | PathLike[str],
        peft_path: str | PathLike[str] | None = None,
        use_fp16: bool = False,
        use_bf16: bool = False,
        *,
        cutoff_layers: int | Sequence[int] | None = None,
        heads_by_layer: bool | None = None,
        **arguments: Unpack[PromptArguments],
    ) -> None:
        self.heads_by_layer = _read_heads(heads_by_layer, peft_path or model_name_or_path)
        super().__init__(
            model_name_or_path,
            peft_path,
            use_fp16,
            use_bf16,
            load=partial(load_native, make_minicpm),
            make_options=partial(LayerOptions, cutoff_layers=cutoff_layers),
            **arguments,
        )

    def choose_heads(self, wanted: Sequence[int], layers: Sequence[int]) -> list[int]:
        """States come lowest layer first, heads in the caller's order."""
        scored = self.model.layout.scored_layers
        return [scored.index(layer) for layer in wanted[: len(layers)]]


class LightWeightFlagLLMReranker(LayeredFamily):
    """A language model with a score at every layer that also shortens the passage on its way.

    Args:
        model_name_or_path: folder (or hub name) of the model.
        peft_path: folder of an adapter made for that model; merged into it.
        use_fp16: half precision, where the device is not a CPU.
        use_bf16: half precision with the range of fp32, on any device.
        cutoff_layers: the layers to score at, counted as layers passed; None is the last one.
        compress_layers, compress_ratio: see ``CompressOptions``.
        heads_by_layer: see ``LayeredFamily``; matters for every layer but the first.
        caps_attention: see ``make_cost_wise_gemma``.
        **arguments: see ``PromptArguments``.

    Raises:
        BadCheckpoint: the folder holds no such model, or the adapter is not for it.
        BadArgument: an argument's value can't be used.
    """

    family = RerankerModelClass.DECODER_ONLY_LIGHTWEIGHT
    default_prompt = LIGHTWEIGHT_PROMPT

    def __init__(
        self,
        model_name_or_path: str | PathLike[str],
        peft_path: str | PathLike[str] | None = None,
        use_fp16: bool = False,
        use_bf16: bool = False,
        *,
        cutoff_layers: int | Sequence[int] | None = None,
        compress_layers: Sequence[int] = (8,),
        compress_ratio: int | None = 1,
        heads_by_layer: bool | None = None,
        caps_attention: bool = False,
        **arguments: Unpack[PromptArguments],
    ) -> None:
        self.heads_by_layer = _read_heads(heads_by_layer, peft_path or model_name_or_path)
        super().__init__(
            model_name_or_path,
            peft_path,
            use_fp16,
            use_bf16,
            load=partial(load_native, partial(make_cost_wise_gemma, caps_attention=caps_attention)),
            make_options=partial(
                CompressOptions,
                cutoff_layers=cutoff_layers,
                compress_layers=compress_layers,
                compress_ratio=compress_ratio,
            ),
            **arguments,
        )

    def choose_heads(self, wanted: Sequence[int], layers: Sequence[int]) -> list[int]:
        """The first heads there are, whatever the layers."""
        return list(range(len(layers)))


def _read_heads(by_layer: bool | None, path: str | PathLike[str]) -> bool:
    return bool(read_arguments(fspath(path)).get("heads_by_layer")) if by_layer is None else by_layer


def _refuse_no_layers(name: str, layers: Sequence[int]) -> None:
    if isinstance(layers, int | str) or not all(type(layer) is int for layer in layers):
        raise BadArgument(f"{name}: expected whole numbers, found {layers!r}")

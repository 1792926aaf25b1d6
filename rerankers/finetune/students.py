"""What training knows of each family: how it is loaded, what its sequences are, how it scores a batch.

Sequences are those of scoring, but for a language model's prompt, which counts towards the length here.
"""

import json
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from huggingface_hub import save_torch_model
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from rerankers.detection import CONFIG_FILE, RerankerModelClass, read_json
from rerankers.errors import BadArgument
from rerankers.families.decoder import ANSWER, PROMPT, read_answers
from rerankers.families.layered import LIGHTWEIGHT_PROMPT
from rerankers.hub import HubAccess
from rerankers.loading import (
    Loaded,
    count_positions,
    load_classifier,
    load_language_model,
    load_native,
    load_prompt_tokenizer,
    load_tokenizer,
)
from rerankers.models.layered import Compression, LayeredReranker
from rerankers.models.packed import can_pack, pack_forward
from rerankers.models.published import make_cost_wise_gemma, make_minicpm
from rerankers.prompts import SEPARATOR, PromptEncoder
from rerankers.sequences import Batch, Limits, Pair, PairEncoder, Row, pack_rows, pad_rows, tokenize

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

COMPRESS_RATIOS = (1, 2, 4, 8)
COMPRESS_STEP = 8
"""Every eighth layer may compress, as published lightweight models were trained."""


@dataclass(frozen=True)
class Wishes:
    """What of the options shapes a family's sequences and scores; None, or nothing, is the family's own.

    Args:
        limits: tokens of query, passage and sequence.
        multiple_of: sequences are padded to a multiple of so many tokens.
        answers: see ``FlagLLMReranker``.
        start_layer: the first layer that is trained.
        compress_layers, compress_ratios: what the compression of a step is drawn from.
    """

    limits: Limits
    prompt: str | None = None
    separator: str | None = None
    answers: Sequence[str] = ()
    multiple_of: int = 1
    attn_implementation: str | None = None
    start_layer: int | None = None
    compress_layers: Sequence[int] | None = None
    compress_ratios: Sequence[int] | None = None


class Student(ABC):
    """One family in training.

    Args:
        path: folder, or name on the hub, of the model to start from.
        tokenizer_path: the same of its tokenizer.
    """

    family: ClassVar[RerankerModelClass]
    task_type: ClassVar[str]
    """What adapters say of themselves."""
    uses_lora: ClassVar[bool]
    """Trained by an adapter unless told otherwise."""
    lora_dropout: ClassVar[float]
    target_modules: ClassVar[tuple[str, ...]]
    """The layers that get an adapter; ``all-linear`` is all but the head."""
    modules_to_save: ClassVar[tuple[str, ...]]
    """The layers that are trained whole beside an adapter."""
    instructions: ClassVar[tuple[str | None, str | None]]
    """What scoring puts before query and passage."""
    tokenizer: PreTrainedTokenizerBase

    def __init__(self, path: str, tokenizer_path: str, access: HubAccess, wishes: Wishes) -> None:
        self.path = path
        self.access = access
        self.wishes = wishes
        self.tokenizer = self._load_tokenizer(tokenizer_path)
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.unk_token or self.tokenizer.eos_token

    @abstractmethod
    def _load_tokenizer(self, path: str) -> PreTrainedTokenizerBase: ...

    @abstractmethod
    def load(self, quantization: Any = None) -> Loaded:
        """The model in full precision, and what its checkpoint did not fill.

        Args:
            quantization: transformers' configuration of a quantised base.

        Raises:
            BadCheckpoint: it can't be loaded.
            BadArgument: a wish does not fit it.
        """

    def prepare(self, model: Any, is_plain: bool) -> None:  # noqa: B027  # most have nothing to do
        """Ready the base model, before an adapter is laid over it.

        Args:
            is_plain: on one CPU, or several that each hold all weights, and nothing is computed again.
        """

    @abstractmethod
    def encode(self, pairs: Sequence[Pair], prompt: str | None) -> list[Row]:
        """P pairs, instructions applied, as P rows of ids; ``prompt`` is these pairs' own."""

    def make_batch(self, rows: Sequence[Row]) -> Batch:
        """Rows put together as the model reads them."""
        return pad_rows(rows, self.tokenizer.pad_token_id, "right", self.wishes.multiple_of)

    @abstractmethod
    def score(self, model: torch.nn.Module, batch: Batch, rng: random.Random | None) -> torch.Tensor:
        """Logits (K, B) at K layers.

        Args:
            rng: what a training step draws is drawn from it; None is scoring: the last layer, nothing drawn.
        """

    def tell_arguments(self, prompts: Collection[str | None]) -> dict[str, Any]:
        """The constructor arguments by which scoring does as training did, but for instructions.

        Args:
            prompts: those of the rows, and None where one has none.
        """
        return {}

    def finish(self, folder: str) -> None:  # noqa: B027  # most have nothing to add
        """Add to a saved whole model what its own saving leaves out."""

    def save(self, model: Any, folder: str) -> None:
        """Write a whole model with its tokenizer."""
        model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


class EncoderStudent(Student):
    """A head of one label."""

    family = RerankerModelClass.ENCODER_ONLY_BASE
    task_type = "SEQ_CLS"
    uses_lora = False
    lora_dropout = 0.0
    target_modules = ("all-linear",)
    modules_to_save = ("classifier",)
    instructions = (None, None)
    _packs = False

    def _load_tokenizer(self, path: str) -> PreTrainedTokenizerBase:
        return load_tokenizer(path, self.access)

    def load(self, quantization: Any = None) -> Loaded:
        model, unfilled = load_classifier(
            self.path,
            torch.float32,
            self.access,
            attn_implementation=self.wishes.attn_implementation,
            quantization=quantization,
        )
        self._encoder = PairEncoder(self.tokenizer, count_positions(model))
        return model, unfilled

    def prepare(self, model: Any, is_plain: bool) -> None:  # most have nothing to do
        self._packs = is_plain and self.wishes.attn_implementation is None and can_pack(model)
        if self._packs:
            pack_forward(model)

    def encode(self, pairs: Sequence[Pair], prompt: str | None) -> list[Row]:
        return self._encoder.encode(pairs, self.wishes.limits)

    def make_batch(self, rows: Sequence[Row]) -> Batch:
        return pack_rows(rows) if self._packs else super().make_batch(rows)

    def score(self, model: torch.nn.Module, batch: Batch, rng: random.Random | None) -> torch.Tensor:
        logits: torch.Tensor = model(**batch).logits
        return logits.view(1, -1)


class PromptStudent(Student):
    """What the families of language models share: sequences with a prompt."""

    task_type = "CAUSAL_LM"
    uses_lora = True
    lora_dropout = 0.1
    modules_to_save = ()
    instructions = ("A: ", "B: ")
    default_prompt: ClassVar[str]
    needs_bos: ClassVar[bool]

    def __init__(self, path: str, tokenizer_path: str, access: HubAccess, wishes: Wishes) -> None:
        super().__init__(path, tokenizer_path, access, wishes)
        self.prompt = self.default_prompt if wishes.prompt is None else wishes.prompt
        self.separator = SEPARATOR if wishes.separator is None else wishes.separator
        self._encoder = PromptEncoder(self.tokenizer, self.needs_bos, self.separator)

    def _load_tokenizer(self, path: str) -> PreTrainedTokenizerBase:
        return load_prompt_tokenizer(path, self.access)

    def encode(self, pairs: Sequence[Pair], prompt: str | None) -> list[Row]:
        asked = self.prompt if prompt is None else prompt
        n_asked = self._encoder.count_asked(asked)
        if n_asked >= self.wishes.limits.total:
            raise BadArgument(
                f"--query_max_len, --passage_max_len: {self.wishes.limits.total} tokens in all, "
                f"and the prompt {asked!r:.40} alone has {n_asked}; give more"
            )
        return self._encoder.encode(pairs, self.wishes.limits, asked, counts_prompt=True)

    def tell_arguments(self, prompts: Collection[str | None]) -> dict[str, Any]:
        told = {}
        asked = {self.prompt if prompt is None else prompt for prompt in prompts}
        if len(asked) == 1 and asked != {self.default_prompt}:
            told["prompt"] = asked.pop()
        if self.separator != SEPARATOR:
            told["separator"] = self.separator
        return told


class LanguageModelStudent(PromptStudent):
    """The logit of a word."""

    family = RerankerModelClass.DECODER_ONLY_BASE
    target_modules = PROJECTIONS
    default_prompt = PROMPT
    needs_bos = False

    def __init__(self, path: str, tokenizer_path: str, access: HubAccess, wishes: Wishes) -> None:
        super().__init__(path, tokenizer_path, access, wishes)
        self.answers = tuple(wishes.answers) or (ANSWER,)
        ids = tokenize(self.tokenizer, self.answers, max_tokens=1)
        self._answer_ids = [word_id for answer in self.answers for word_id in ids[answer]]

    def load(self, quantization: Any = None) -> Loaded:
        return load_language_model(
            self.path,
            torch.float32,
            self.access,
            attn_implementation=self.wishes.attn_implementation,
            quantization=quantization,
        )

    def make_batch(self, rows: Sequence[Row]) -> Batch:
        ids: list[Row] = [{"input_ids": row["input_ids"]} for row in rows]
        # on the left: the last column is everybody's last token
        return pad_rows(ids, self.tokenizer.pad_token_id, "left", self.wishes.multiple_of)

    def score(self, model: torch.nn.Module, batch: Batch, rng: random.Random | None) -> torch.Tensor:
        logits = model(**batch, use_cache=False, logits_to_keep=1).logits
        return read_answers(logits[:, -1, self._answer_ids])[None]

    def tell_arguments(self, prompts: Collection[str | None]) -> dict[str, Any]:
        told = super().tell_arguments(prompts)
        return told if self.answers == (ANSWER,) else told | {"answers": list(self.answers)}


class LayeredStudent(PromptStudent):
    """Scores at every layer from some layer on, each read by its own head."""

    target_modules = (*PROJECTIONS, "linear_head")
    needs_bos = True
    make_model: ClassVar[Callable[..., LayeredReranker]]

    def load(self, quantization: Any = None) -> Loaded:
        if quantization is not None:
            raise BadArgument("--load_in_4bit: the layered families' own models have no 4-bit layers")
        model, unfilled = load_native(self.make_model, self.path, torch.float32, self.access)
        return self.take(model, read_json(self.path, CONFIG_FILE, self.access) or {}), unfilled

    def take(self, model: torch.nn.Module, config: Mapping[str, Any]) -> LayeredReranker:
        """Choose the layers to train; heads before these stay as they are."""
        assert isinstance(model, LayeredReranker)
        self._config = dict(config)
        shown: Any = model
        shown.config = PreTrainedConfig(**{name: config[name] for name in ("model_type", "hidden_size")})
        shown.name_or_path = self.path
        scored = model.layout.scored_layers
        start = scored[0] if self.wishes.start_layer is None else self.wishes.start_layer
        self._layers = [layer for layer in scored if layer >= start]
        if start < scored[0] or not self._layers:
            raise BadArgument(f"--start_layer: {start}: this model has heads at layers {list(scored)}")
        self._heads = [scored.index(layer) for layer in self._layers]
        if isinstance(model.lm_head, torch.nn.ModuleList):
            for head in model.lm_head[: self._heads[0]]:
                head.requires_grad_(False)
        return model

    def score(self, model: torch.nn.Module, batch: Batch, rng: random.Random | None) -> torch.Tensor:
        whole = rng is None
        scores: torch.Tensor = model(
            **batch,
            layers=self._layers[-1:] if whole else self._layers,
            heads=self._heads[-1:] if whole else self._heads,
            compression=Compression() if rng is None else self.draw_compression(rng),
        )
        return scores

    def save(self, model: Any, folder: str) -> None:
        self.tokenizer.save_pretrained(folder)
        save_torch_model(model, folder)
        self.finish(folder)

    def draw_compression(self, rng: random.Random) -> Compression:
        """None, for the family that has none."""
        return Compression()

    def finish(self, folder: str) -> None:
        text = json.dumps(self._config, indent=2)
        (Path(folder) / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


class LayerWiseStudent(LayeredStudent):
    """MiniCPM."""

    family = RerankerModelClass.DECODER_ONLY_LAYERWISE
    default_prompt = PROMPT
    make_model = staticmethod(make_minicpm)


class LightweightStudent(LayeredStudent):
    """Gemma 2, whose passages get shorter on their way."""

    family = RerankerModelClass.DECODER_ONLY_LIGHTWEIGHT
    default_prompt = LIGHTWEIGHT_PROMPT
    make_model = staticmethod(make_cost_wise_gemma)

    def draw_compression(self, rng: random.Random) -> Compression:
        """A ratio, and each of the layers with a chance of one half."""
        ratios, layers = self.wishes.compress_ratios, self.wishes.compress_layers
        ratio = rng.choice(COMPRESS_RATIOS if ratios is None else ratios)
        layers = range(COMPRESS_STEP, self._layers[-1], COMPRESS_STEP) if layers is None else layers
        return Compression([layer for layer in layers if rng.random() < 0.5], ratio)

    def tell_arguments(self, prompts: Collection[str | None]) -> dict[str, Any]:
        return super().tell_arguments(prompts) | {"heads_by_layer": True}


STUDENTS: dict[RerankerModelClass, type[Student]] = {
    student.family: student
    for student in (EncoderStudent, LanguageModelStudent, LayerWiseStudent, LightweightStudent)
}

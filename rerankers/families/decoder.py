"""The decoder-only family: language models that are asked for Yes or No, and adapters for them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from os import PathLike, fspath
from typing import Any, ClassVar, TypedDict, Unpack

import torch

from rerankers.base import AbsReranker, Instruction, ScoreOptions
from rerankers.detection import RerankerModelClass
from rerankers.devices import Devices, choose_dtype
from rerankers.errors import BadArgument
from rerankers.hub import HubAccess
from rerankers.loading import (
    Loader,
    load_language_model,
    load_prompt_tokenizer,
    load_reranker_model,
)
from rerankers.prompts import SEPARATOR, PromptEncoder
from rerankers.sequences import Batch, Pair, Row, tokenize

PROMPT = (
    "Given a query A and a passage B, determine whether the passage contains an answer to the query "
    "by providing a prediction of either 'Yes' or 'No'."
)
ANSWER = "Yes"
MASKED_ATTENTION = ("sdpa", "eager")
"""Kinds of attention that may leave out tokens in the middle."""
WORTH_SHARING = 0.05
"""The share of a batch's tokens from which on it pays to compute a common beginning by itself."""


@dataclass(frozen=True)
class PromptOptions(ScoreOptions):
    """Those of all families and ``prompt``, the question that follows query and passage."""

    prompt: str = PROMPT


class PromptArguments(TypedDict, total=False):
    """The constructor arguments that the families of language models share, with the defaults they have.

    Args:
        query_instruction_for_rerank, passage_instruction_for_rerank: ``"A: "`` and ``"B: "``; None is none.
        query_instruction_format, passage_instruction_format: ``"{}{}"``; joins instruction and text.
        cache_dir: where files from the hub are kept.
        revision: the model's branch, tag or commit on the hub; None is the main branch.
        trust_remote_code: False; run code that the model brings along.
        devices: see ``Devices``.
        prompt: the question that follows query and passage; None is the family's own.
        batch_size, query_max_length, max_length, normalize, passage_max_length: see ``ScoreOptions``.
    """

    query_instruction_for_rerank: str | None
    query_instruction_format: str
    passage_instruction_for_rerank: str | None
    passage_instruction_format: str
    cache_dir: str | None
    revision: str | None
    trust_remote_code: bool
    devices: Devices
    prompt: str | None
    batch_size: int
    query_max_length: int | None
    max_length: int
    normalize: bool
    passage_max_length: int | None


class PromptReranker(AbsReranker):
    """What the families of language models share: the sequence that they read, and how they are loaded.

    Args:
        load: see ``load_reranker_model``.
        make_options: the family's options, from those of ``PromptOptions`` by name.
        separator: see ``PromptEncoder``.
    """

    family: ClassVar[RerankerModelClass]
    default_prompt: ClassVar[str]
    needs_bos: ClassVar[bool]
    """See ``PromptEncoder``."""
    padding_side: ClassVar[str]
    """Where the family's model wants short rows filled up."""

    def __init__(
        self,
        model_name_or_path: str | PathLike[str],
        peft_path: str | PathLike[str] | None,
        use_fp16: bool,
        use_bf16: bool,
        *,
        load: Loader,
        make_options: Callable[..., PromptOptions],
        separator: str = SEPARATOR,
        query_instruction_for_rerank: str | None = "A: ",
        query_instruction_format: str = "{}{}",
        passage_instruction_for_rerank: str | None = "B: ",
        passage_instruction_format: str = "{}{}",
        cache_dir: str | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        devices: Devices = None,
        prompt: str | None = None,
        batch_size: int = 128,
        query_max_length: int | None = None,
        max_length: int = 512,
        normalize: bool = False,
        passage_max_length: int | None = None,
    ) -> None:
        super().__init__(
            Instruction(query_instruction_for_rerank, query_instruction_format),
            Instruction(passage_instruction_for_rerank, passage_instruction_format),
            devices,
            make_options(
                batch_size=batch_size,
                query_max_length=query_max_length,
                max_length=max_length,
                normalize=normalize,
                passage_max_length=passage_max_length,
                prompt=self.default_prompt if prompt is None else prompt,
            ),
        )
        access = HubAccess(trust_remote_code, cache_dir, revision)
        dtype = choose_dtype(self.devices, use_fp16, use_bf16)
        path, adapter_path = fspath(model_name_or_path), fspath(peft_path) if peft_path is not None else None
        self.tokenizer = load_prompt_tokenizer(path, access)
        self.tokenizer.padding_side = self.padding_side
        self.encoder = PromptEncoder(self.tokenizer, self.needs_bos, separator)
        self._take_model(partial(load_reranker_model, self.family, load, path, adapter_path, dtype, access))

    def encode_pairs(self, pairs: Sequence[Pair], options: PromptOptions) -> list[Row]:
        return self.encoder.encode(pairs, options.limits, options.prompt)


class FlagLLMReranker(PromptReranker):
    """A decoder-only reranker: the score is the logit of ``Yes`` as the next word after the prompt.

    Other language models of this kind differ in what they are asked and in their answers' words, for example
    those of ``QWEN3_FORMAT`` in `rerankers.auto`.

    Args:
        model_name_or_path: folder (or hub name) of the model.
        peft_path: folder of an adapter made for that model; merged into it.
        use_fp16: half precision, where the device is not a CPU.
        use_bf16: half precision with the range of fp32, on any device.
        separator: what stands between query, passage and prompt.
        answers: the word whose logit is the score; with a second word, minus that one's logit, so that a
            normalized score is the first one's share of the two.
        attn_implementation: transformers' attention, such as ``"flash_attention_2"``; None is its choice.
        **arguments: see ``PromptArguments``.

    Raises:
        BadCheckpoint: the folder holds no language model, or the adapter is not for it.
        BadArgument: an argument's value can't be used.
    """

    family = RerankerModelClass.DECODER_ONLY_BASE
    default_prompt = PROMPT
    needs_bos = False
    padding_side = "left"  # the last column is everybody's last token

    def __init__(
        self,
        model_name_or_path: str | PathLike[str],
        peft_path: str | PathLike[str] | None = None,
        use_fp16: bool = False,
        use_bf16: bool = False,
        *,
        separator: str = SEPARATOR,
        answers: Sequence[str] = (ANSWER,),
        attn_implementation: str | None = None,
        **arguments: Unpack[PromptArguments],
    ) -> None:
        if isinstance(answers, str) or len(answers) not in (1, 2):
            raise BadArgument(f"answers: expected one word or two, as a list, found {answers!r}")
        self.answers = tuple(answers)
        super().__init__(
            model_name_or_path,
            peft_path,
            use_fp16,
            use_bf16,
            load=partial(load_language_model, attn_implementation=attn_implementation),
            make_options=PromptOptions,
            separator=separator,
            **arguments,
        )

    def adapt_model(self, model: torch.nn.Module) -> torch.nn.Module:
        ids = tokenize(self.tokenizer, self.answers, max_tokens=1)
        return _keep_words(model, [word_id for answer in self.answers for word_id in ids[answer]])

    def make_batch(self, rows: Sequence[Row]) -> Batch:
        """Take off what all rows begin with, and hand it over once, as ``prefix`` (P,), where that pays."""
        n_shared = self._count_shared([row["input_ids"] for row in rows])
        batch = super().make_batch([{"input_ids": row["input_ids"][n_shared:]} for row in rows])
        return batch | {"prefix": torch.tensor(rows[0]["input_ids"][:n_shared], dtype=torch.long)}

    def _count_shared(self, sequences: Sequence[list[int]]) -> int:
        """How many tokens at the beginning are worth to be computed once for all."""
        longest = max(map(len, sequences))
        config: Any = self.model.config
        window = getattr(config, "sliding_window", None)
        reads_masks = config._attn_implementation in MASKED_ATTENTION
        if not reads_masks or self.model._is_stateful or (window is not None and longest > window):
            return 0  # padding behind the beginning, a state to hand on, or a window that padding counts in
        alike = takewhile(lambda pair: pair[0] == pair[1], zip(min(sequences), max(sequences), strict=False))
        n_shared = min(len(list(alike)), min(map(len, sequences)) - 1)
        n_saved = n_shared * (len(sequences) - 1)
        return n_shared if n_saved > WORTH_SHARING * longest * len(sequences) else 0

    def score_batch(self, batch: Batch, options: PromptOptions) -> torch.Tensor:
        prefix, mask = batch["prefix"], batch["attention_mask"]
        shared: dict[str, Any] = {}
        if len(prefix):
            keys_and_values = self.model(prefix[None], use_cache=True, logits_to_keep=1).past_key_values
            keys_and_values.batch_repeat_interleave(len(mask))
            shared = {
                "past_key_values": keys_and_values,
                "position_ids": (len(prefix) + mask.cumsum(1) - 1).clamp(min=0),
            }
            mask = torch.cat([mask.new_ones(len(mask), len(prefix)), mask], dim=1)
        output = self.model(
            batch["input_ids"], attention_mask=mask, use_cache=bool(shared), logits_to_keep=1, **shared
        )
        return read_answers(output.logits[:, 0])[None]


def read_answers(logits: torch.Tensor) -> torch.Tensor:
    """The scores (B,) in the logits (B, 1 or 2) of the answers: the first's, less the second's."""
    first, *second = logits.unbind(1)
    return first - second[0] if second else first


def _keep_words(model: Any, word_ids: Sequence[int]) -> torch.nn.Module:
    """Cut the head down to the rows of a word or two: the other logits of a large vocabulary are not needed.

    The model's own forward still does to it what it does to all logits, such as soft-capping.
    """
    head = model.get_output_embeddings()
    kept = torch.nn.Linear(head.in_features, len(word_ids), bias=head.bias is not None).to(head.weight)
    with torch.no_grad():
        kept.weight.copy_(head.weight[word_ids])
        if head.bias is not None:
            kept.bias.copy_(head.bias[word_ids])
    model.set_output_embeddings(kept)
    adapted: torch.nn.Module = model
    return adapted

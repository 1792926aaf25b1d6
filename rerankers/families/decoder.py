"""The decoder-only family: language models that are asked for Yes or No, and adapters for them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any, TypedDict, Unpack

import torch

from rerankers.base import AbsReranker, Instruction, ScoreOptions, choose_dtype
from rerankers.detection import RerankerModelClass
from rerankers.hub import HubAccess
from rerankers.loading import (
    Loader,
    load_language_model,
    load_prompt_tokenizer,
    load_reranker_model,
)
from rerankers.prompts import PromptEncoder
from rerankers.sequences import Batch, Pair, Row, tokenize

PROMPT = (
    "Given a query A and a passage B, determine whether the passage contains an answer to the query "
    "by providing a prediction of either 'Yes' or 'No'."
)
ANSWER = "Yes"


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
        devices: see ``choose_device``.
        prompt: the question that follows query and passage; None is the family's own.
        batch_size, query_max_length, max_length, normalize: see ``ScoreOptions``.
    """

    query_instruction_for_rerank: str | None
    query_instruction_format: str
    passage_instruction_for_rerank: str | None
    passage_instruction_format: str
    cache_dir: str | None
    revision: str | None
    trust_remote_code: bool
    devices: str | int | Sequence[str | int] | None
    prompt: str | None
    batch_size: int
    query_max_length: int | None
    max_length: int
    normalize: bool


class PromptReranker(AbsReranker):
    """What the families of language models share: the sequence that they read, and how they are loaded.

    Args:
        family, load: see ``load_reranker_model``.
        make_options: the family's options, from those of ``PromptOptions`` by name.
        default_prompt: for a prompt of None.
        needs_bos: see ``PromptEncoder``.
        padding_side: on which side the family's model wants short rows filled up.
    """

    def __init__(
        self,
        model_name_or_path: str | PathLike[str],
        peft_path: str | PathLike[str] | None,
        use_fp16: bool,
        use_bf16: bool,
        *,
        family: RerankerModelClass,
        load: Loader,
        make_options: Callable[..., PromptOptions],
        default_prompt: str,
        needs_bos: bool,
        padding_side: str,
        query_instruction_for_rerank: str | None = "A: ",
        query_instruction_format: str = "{}{}",
        passage_instruction_for_rerank: str | None = "B: ",
        passage_instruction_format: str = "{}{}",
        cache_dir: str | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        devices: str | int | Sequence[str | int] | None = None,
        prompt: str | None = None,
        batch_size: int = 128,
        query_max_length: int | None = None,
        max_length: int = 512,
        normalize: bool = False,
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
                prompt=default_prompt if prompt is None else prompt,
            ),
        )
        access = HubAccess(trust_remote_code, cache_dir, revision)
        dtype = choose_dtype(self.device, use_fp16, use_bf16)
        path, adapter_path = fspath(model_name_or_path), fspath(peft_path) if peft_path is not None else None
        self.tokenizer = load_prompt_tokenizer(path, access)
        self.tokenizer.padding_side = padding_side
        self.encoder = PromptEncoder(self.tokenizer, needs_bos)
        model = load_reranker_model(
            family, load, path, adapter_path, dtype, access, reads_weights=self.device.type != "meta"
        )
        self.model = model.to(self.device).eval()

    def encode_pairs(self, pairs: Sequence[Pair], options: PromptOptions) -> list[Row]:
        return self.encoder.encode(pairs, options.limits, options.prompt)


class FlagLLMReranker(PromptReranker):
    """A decoder-only reranker: the score is the logit of ``Yes`` as the next word after the prompt.

    Args:
        model_name_or_path: folder (or hub name) of the model.
        peft_path: folder of an adapter made for that model; merged into it.
        use_fp16: half precision, where the device is not a CPU.
        use_bf16: half precision with the range of fp32, on any device.
        **arguments: see ``PromptArguments``.

    Raises:
        BadCheckpoint: the folder holds no language model, or the adapter is not for it.
        BadArgument: an argument's value can't be used.
    """

    def __init__(
        self,
        model_name_or_path: str | PathLike[str],
        peft_path: str | PathLike[str] | None = None,
        use_fp16: bool = False,
        use_bf16: bool = False,
        **arguments: Unpack[PromptArguments],
    ) -> None:
        super().__init__(
            model_name_or_path,
            peft_path,
            use_fp16,
            use_bf16,
            family=RerankerModelClass.DECODER_ONLY_BASE,
            load=load_language_model,
            make_options=PromptOptions,
            default_prompt=PROMPT,
            needs_bos=False,
            padding_side="left",  # the last column is everybody's last token
            **arguments,
        )
        _keep_one_word(self.model, tokenize(self.tokenizer, [ANSWER])[ANSWER][0])

    def score_batch(self, batch: Batch, options: PromptOptions) -> torch.Tensor:
        output = self.model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            logits_to_keep=1,
            use_cache=False,
        )
        logits: torch.Tensor = output.logits  # (B, 1, 1)
        return logits.view(1, -1)


def _keep_one_word(model: Any, word_id: int) -> None:
    """Cut the head down to one word's row: of a vocabulary of 256,000 logits one is needed.

    The model's own forward still does to it what it does to all logits, such as soft-capping.
    """
    head = model.get_output_embeddings()
    kept = torch.nn.Linear(head.in_features, 1, bias=head.bias is not None).to(head.weight)
    with torch.no_grad():
        kept.weight.copy_(head.weight[word_id : word_id + 1])
        if head.bias is not None:
            kept.bias.copy_(head.bias[word_id : word_id + 1])
    model.set_output_embeddings(kept)

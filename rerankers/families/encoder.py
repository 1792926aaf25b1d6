"""The encoder-only family: BERT-like models with a head of one label, and adapters for them."""

from collections.abc import Sequence
from functools import partial
from os import PathLike, fspath

import torch

from rerankers.base import AbsReranker, Instruction, ScoreOptions
from rerankers.detection import RerankerModelClass
from rerankers.devices import Devices, choose_dtype
from rerankers.hub import HubAccess
from rerankers.loading import count_positions, load_classifier, load_reranker_model, load_tokenizer
from rerankers.models.packed import PackedEncoder, can_pack
from rerankers.sequences import Batch, Pair, PairEncoder, Row, pack_rows

ENCODER_ONLY = RerankerModelClass.ENCODER_ONLY_BASE


class FlagReranker(AbsReranker):
    """An encoder-only reranker: reads query and passage together and scores them by a head of one label.

    Args:
        model_name_or_path: folder (or hub name) of the model.
        peft_path: folder of an adapter made for that model; merged into it.
        use_fp16: half precision, where the device is not a CPU.
        use_bf16: half precision with the range of fp32, on any device.
        trust_remote_code: run code that the model brings along.
        cache_dir: where files from the hub are kept.
        attn_implementation: transformers' attention, such as ``"flash_attention_2"``; None is ours.
        revision: the model's branch, tag or commit on the hub; None is the main branch.

    The others are described at ``Instruction`` and ``ScoreOptions``.

    Raises:
        BadCheckpoint: the folder holds no trained reranker with one label, or the adapter is not for it.
        BadArgument: an argument's value can't be used.
    """

    def __init__(
        self,
        model_name_or_path: str | PathLike[str],
        use_fp16: bool = False,
        query_instruction_for_rerank: str | None = None,
        query_instruction_format: str = "{}{}",
        passage_instruction_for_rerank: str | None = None,
        passage_instruction_format: str = "{}{}",
        devices: Devices = None,
        batch_size: int = 128,
        query_max_length: int | None = None,
        max_length: int = 512,
        normalize: bool = False,
        trust_remote_code: bool = False,
        cache_dir: str | None = None,
        *,
        peft_path: str | PathLike[str] | None = None,
        use_bf16: bool = False,
        passage_max_length: int | None = None,
        attn_implementation: str | None = None,
        revision: str | None = None,
    ) -> None:
        super().__init__(
            Instruction(query_instruction_for_rerank, query_instruction_format),
            Instruction(passage_instruction_for_rerank, passage_instruction_format),
            devices,
            ScoreOptions(batch_size, query_max_length, max_length, normalize, passage_max_length),
        )
        access = HubAccess(trust_remote_code, cache_dir, revision)
        dtype = choose_dtype(self.devices, use_fp16, use_bf16)
        path, adapter_path = fspath(model_name_or_path), fspath(peft_path) if peft_path is not None else None
        self.tokenizer = load_tokenizer(path, access)
        self._may_pack = attn_implementation is None
        load = partial(load_classifier, attn_implementation=attn_implementation)
        self._take_model(partial(load_reranker_model, ENCODER_ONLY, load, path, adapter_path, dtype, access))
        self.encoder = PairEncoder(self.tokenizer, count_positions(self.model))

    def adapt_model(self, model: torch.nn.Module) -> torch.nn.Module:
        self._is_packed = self._may_pack and self.device.type == "cpu" and can_pack(model)
        return PackedEncoder(model) if self._is_packed else model

    def encode_pairs(self, pairs: Sequence[Pair], options: ScoreOptions) -> list[Row]:
        return self.encoder.encode(pairs, options.limits)

    def make_batch(self, rows: Sequence[Row]) -> Batch:
        return pack_rows(rows) if self._is_packed else super().make_batch(rows)

    def score_batch(self, batch: Batch, options: ScoreOptions) -> torch.Tensor:
        logits: torch.Tensor = self.model(**batch).logits  # (B, 1)
        return logits.view(1, -1)

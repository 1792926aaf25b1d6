"""Options that can't be meant: those that have no sense here, and those that go wrong together."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from rerankers.detection import RerankerModelClass
from rerankers.errors import BadArgument
from rerankers.finetune.arguments import DataOptions, ModelOptions, TrainingOptions

REFUSED: Mapping[str, str] = {
    "config_name": "a model is what its own config.json says; change it there",
    "use_fast_tokenizer": "sequences are built of what only fast tokenizers tell",
    "token": "set the environment's HF_TOKEN; a command line can be read by others",
    "cache_path": "rows are read straight from their files, nothing is cached",
    "sub_batch_size": "a batch is cut into forward passes by --token_budget",
    "train_sampling_strategy": "forward passes are of like length anyway, by --token_budget",
    "label_smoothing_factor": "the loss is over groups; soft labels are a teacher's",
    "use_liger_kernel": "its losses are those of next words",
    "neftune_noise_alpha": "the noise would be in scores, too",
    "auto_find_batch_size": "the loss depends on what is in a batch; lower --token_budget instead",
    "push_to_hub": "upload the folder when you have seen its figures",
}
"""Options that have no sense here, and why."""

ONLY_FOR: Mapping[str, frozenset[RerankerModelClass]] = {
    "prompt": frozenset(RerankerModelClass) - {RerankerModelClass.ENCODER_ONLY_BASE},
    "sep_token": frozenset(RerankerModelClass) - {RerankerModelClass.ENCODER_ONLY_BASE},
    "answers": frozenset({RerankerModelClass.DECODER_ONLY_BASE}),
    "start_layer": frozenset(
        {RerankerModelClass.DECODER_ONLY_LAYERWISE, RerankerModelClass.DECODER_ONLY_LIGHTWEIGHT}
    ),
    "head_multi": frozenset({RerankerModelClass.DECODER_ONLY_LAYERWISE}),
    "head_type": frozenset({RerankerModelClass.DECODER_ONLY_LAYERWISE}),
    "compress_layers": frozenset({RerankerModelClass.DECODER_ONLY_LIGHTWEIGHT}),
    "compress_ratios": frozenset({RerankerModelClass.DECODER_ONLY_LIGHTWEIGHT}),
    "use_flash_attn": frozenset({RerankerModelClass.ENCODER_ONLY_BASE, RerankerModelClass.DECODER_ONLY_BASE}),
    "load_in_4bit": frozenset({RerankerModelClass.ENCODER_ONLY_BASE, RerankerModelClass.DECODER_ONLY_BASE}),
}
"""The families that an option is for, where it is not for all."""

AT_LEAST: Mapping[str, int] = {
    "train_group_size": 2,  # a relevant passage and a negative
    "query_max_len": 1,
    "passage_max_len": 1,
    "max_len": 1,
    "max_example_num_per_dataset": 1,
    "pad_to_multiple_of": 1,
}
"""The least that a number may be."""


def refuse_senseless(model: ModelOptions, data: DataOptions, training: TrainingOptions) -> None:
    """Raise BadArgument for what has no sense whatever the model is."""
    for options in (model, data, training):
        for name in _list_given(options):
            if name in REFUSED:
                raise BadArgument(f"--{name}: {REFUSED[name]}")
    _refuse_unfit(model, data)
    _refuse_evaluation(data, training)
    folder = Path(training.output_dir)
    may_be_full = training.resume_from_checkpoint or training.overwrite_output_dir
    if folder.is_dir() and any(folder.iterdir()) and not may_be_full:
        raise BadArgument(f"--output_dir: {folder} is not empty; give another, or --resume_from_checkpoint")


def refuse_for_family(model: ModelOptions, data: DataOptions, family: RerankerModelClass) -> None:
    """Raise BadArgument for what another family is trained by."""
    given = _list_given(model) | _list_given(data)
    for name, families in ONLY_FOR.items():
        if name in given and family not in families:
            known = ", ".join(sorted(one.value for one in families))
            raise BadArgument(f"--{name}: this is an {family.value} model, and the option is for {known}")


def _list_given(options: Any) -> dict[str, Any]:
    """The options that are not at their defaults."""
    return {
        option.name: getattr(options, option.name)
        for option in fields(options)
        if option.name in REFUSED.keys() | ONLY_FOR.keys() and getattr(options, option.name) != option.default
    }


def _refuse_unfit(model: ModelOptions, data: DataOptions) -> None:
    for name, least in AT_LEAST.items():
        found = getattr(data, name)
        if found is not None and found < least:
            raise BadArgument(f"--{name}: expected at least {least}, found {found}")
    if not 0 <= data.shuffle_ratio <= 1:
        raise BadArgument(f"--shuffle_ratio: expected 0 to 1, found {data.shuffle_ratio}")
    if model.use_lora is False and (model.lora_rank or model.from_peft):
        raise BadArgument("--use_lora: no adapter is wanted, but --lora_rank or --from_peft asks for one")
    for name in ("lora_rank", "lora_dropout", "target_modules", "modules_to_save"):
        if model.from_peft is not None and getattr(model, name) is not None:
            raise BadArgument(f"--{name}: the adapter of --from_peft keeps its own")
    if model.use_lora and model.lora_rank == 0:
        raise BadArgument("--lora_rank: an adapter has a rank of at least 1")
    if model.head_type not in (None, "simple"):
        raise BadArgument(
            f"--head_type: {model.head_type}: published layer-wise models have simple heads, of one score"
        )
    if model.compress_ratios is not None and not all(ratio >= 1 for ratio in model.compress_ratios):
        raise BadArgument(f"--compress_ratios: expected at least 1 each, found {model.compress_ratios}")


def _refuse_evaluation(data: DataOptions, training: TrainingOptions) -> None:
    asks = training.early_stopping_patience is not None or training.eval_strategy != "no"
    if asks and not data.eval_data:
        raise BadArgument("--eval_data: --eval_strategy and --early_stopping_patience need something to rank")

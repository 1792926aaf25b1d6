"""One training from its options to the saved model or adapter."""

from pathlib import Path

import torch
from peft import LoraConfig, TaskType, get_peft_model
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import PreTrainedModel, set_seed

from rerankers.devices import default_token_budget
from rerankers.errors import BadArgument
from rerankers.finetune.arguments import DataOptions, ModelOptions, TrainingOptions, build_parser
from rerankers.finetune.groups import GroupCollator, GroupDataset, read_rows
from rerankers.finetune.trainer import GroupTrainer
from rerankers.hub import HubAccess
from rerankers.loading import count_positions, load_classifier, load_tokenizer, refuse_unfilled
from rerankers.sequences import Limits, PairEncoder

ADAPTER_FILE = "adapter_model.safetensors"


def main(arguments: list[str] | None = None, prog: str = "python -m rerankers finetune") -> None:
    """Fine-tune as a command line says; see ``--help``."""
    finetune(*build_parser(prog).parse_args_into_dataclasses(arguments, look_for_args_file=False))


def finetune(
    model_options: ModelOptions, data_options: DataOptions, training: TrainingOptions
) -> torch.nn.Module:
    """Train, and write the model or adapter, its tokenizer and the options into ``training.output_dir``.

    Returns:
        The trained model; with an adapter, as peft wraps it.

    Raises:
        BadTrainingFile: the data can't be used.
        BadCheckpoint: the base model can't be loaded, or needs layers that are not in ``modules_to_save``.
        BadArgument: the folder to write to is not empty, or an option has no sense.
    """
    _refuse_senseless(data_options, training)
    rows = read_rows(data_options.train_data, needs_scores=data_options.knowledge_distillation)
    set_seed(training.seed)  # a new head starts from it
    access = HubAccess(model_options.trust_remote_code, model_options.cache_dir)
    path = model_options.model_name_or_path
    tokenizer = load_tokenizer(path, access)
    base, unfilled = load_classifier(path, torch.float32, access)
    encoder = PairEncoder(tokenizer, count_positions(base))
    wants_adapter = model_options.lora_rank > 0
    model = _add_adapter(base, model_options, unfilled) if wants_adapter else base
    trainer = GroupTrainer(
        model=model,
        args=training,
        processing_class=tokenizer,
        data_collator=GroupCollator(tokenizer.pad_token_id),
        train_dataset=GroupDataset(
            rows,
            encoder,
            limits=read_limits(data_options),
            group_size=data_options.train_group_size,
            distil=data_options.knowledge_distillation,
        ),
        group_size=data_options.train_group_size,
        token_budget=training.token_budget or default_token_budget(training.device),
        distillation_weight=data_options.distillation_weight,
    )
    trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    trainer.save_model()
    if wants_adapter:
        _cast_adapter(Path(training.output_dir), getattr(torch, model_options.adapter_dtype))
    return model


def _add_adapter(model: PreTrainedModel, options: ModelOptions, unfilled: dict[str, str]) -> torch.nn.Module:
    """Lay a trainable adapter over a frozen model; what the checkpoint did not fill must be saved with it."""
    saved = {name for name in unfilled if set(name.split(".")) & set(options.modules_to_save)}
    refuse_unfilled(options.model_name_or_path, unfilled, brought=saved)
    targets = options.target_modules
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=options.lora_rank,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        target_modules="all-linear" if targets == ["all-linear"] else targets,
        modules_to_save=list(options.modules_to_save),
    )
    adapted = get_peft_model(model, config)
    adapted.print_trainable_parameters()
    return adapted


def read_limits(options: DataOptions) -> Limits:
    """The limits published rerankers were trained with: each text may use a part of the other's room."""
    query, passage = options.query_max_len, options.passage_max_len
    return Limits(query + passage // 4, passage + query // 2, min(options.max_len, query + passage))


def _refuse_senseless(data_options: DataOptions, training: TrainingOptions) -> None:
    if data_options.train_group_size < 2:
        raise BadArgument(
            "--train_group_size: a group needs a relevant passage and a negative, so at least 2"
        )
    folder = Path(training.output_dir)
    if folder.is_dir() and any(folder.iterdir()) and not training.resume_from_checkpoint:
        raise BadArgument(f"--output_dir: {folder} is not empty; give another, or --resume_from_checkpoint")


def _cast_adapter(folder: Path, dtype: torch.dtype) -> None:
    """Rewrite a saved adapter in another precision."""
    file = folder / ADAPTER_FILE
    with safe_open(file, framework="pt") as saved:
        weights = {name: saved.get_tensor(name).to(dtype) for name in saved.keys()}  # noqa: SIM118
        metadata = saved.metadata()
    save_file(weights, file, metadata)

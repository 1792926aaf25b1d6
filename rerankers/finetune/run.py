"""One training from its options to the saved model or adapter."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import EarlyStoppingCallback, TrainerCallback, set_seed

from relevance.rows import TrainingRow
from rerankers.errors import BadArgument
from rerankers.finetune import adapters
from rerankers.finetune.arguments import (
    LATEST,
    DataOptions,
    ModelOptions,
    Options,
    TrainingOptions,
    read_options,
)
from rerankers.finetune.card import write_card
from rerankers.finetune.figures import CsvLog
from rerankers.finetune.groups import GroupCollator, GroupDataset
from rerankers.finetune.merge import merge_adapters
from rerankers.finetune.prepare import (
    choose_token_budget,
    make_model,
    make_student,
    read_texts,
    tell_arguments,
    tell_config,
)
from rerankers.finetune.ranking import encode_candidates
from rerankers.finetune.refused import refuse_for_family, refuse_senseless
from rerankers.finetune.rows import (
    find_files,
    read_files,
    refuse_contradictions,
    refuse_leaks,
    sample_rows,
)
from rerankers.finetune.students import Student
from rerankers.finetune.trainer import GroupTrainer

MERGED = "merged_model"
STATE_FILE = "trainer_state.json"
CHECKPOINT = "checkpoint-"

OTHERS_WARNINGS = ("`is_gradient_checkpointing` is deprecated", "`broadcast_buffers` is deprecated")
"""What peft and transformers will call otherwise one day, told in every process."""

Rows = dict[Path, list[TrainingRow]]


def main(arguments: list[str] | None = None, prog: str = "python -m rerankers finetune") -> None:
    """Fine-tune as a command line says; see ``--help``."""
    for message in OTHERS_WARNINGS:
        warnings.filterwarnings("ignore", message, FutureWarning)
    finetune(*read_options(arguments, prog))


def finetune(model_options: ModelOptions, data_options: DataOptions, training: TrainingOptions) -> Any:
    """Train, and write the model or adapter, its tokenizer, figures and options into ``training.output_dir``.

    Returns:
        The trained model; with an adapter, as peft wraps it.

    Raises:
        BadTrainingFile: the data can't be used.
        BadCheckpoint: the base model can't be loaded, or needs layers that are not in ``modules_to_save``.
        BadArgument: the folder to write to is not empty, or an option has no sense.
    """
    options = (model_options, data_options, training)
    refuse_senseless(*options)
    checkpoint = find_checkpoint(training)
    train_rows, eval_rows = read_data(data_options, training)
    set_seed(training.seed)  # a new head starts from it
    config = tell_config(model_options)
    refuse_for_family(model_options, data_options, config.model_class)
    student = make_student(config, model_options, data_options)
    model = make_model(student, model_options, training)
    texts = read_texts(student, config, data_options)
    rows = _list_rows(train_rows)
    _refuse_too_few(rows, training)
    told = tell_arguments(student, texts, rows)
    trainer = GroupTrainer(
        model=model,
        args=training,
        processing_class=student.tokenizer,
        data_collator=GroupCollator(student.encode, student.make_batch, choose_token_budget(training)),
        train_dataset=GroupDataset(
            rows,
            texts,
            group_size=data_options.train_group_size,
            shuffle_ratio=data_options.shuffle_ratio,
            distil=data_options.knowledge_distillation,
            seed=training.seed,
        ),
        eval_dataset=list(encode_candidates(_list_rows(eval_rows), student.encode, texts)) or None,
        callbacks=make_callbacks(training),
        student=student,
        arguments=told,
        distillation_weight=data_options.distillation_weight,
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    if eval_rows:
        trainer.evaluate()
    trainer.save_model()
    if training.should_save:
        _finish(options, student, model, {"train": train_rows, "eval": eval_rows}, trainer.state.log_history)
    return model


def find_checkpoint(training: TrainingOptions) -> str | None:
    """What to go on from: a checkpoint, or the newest that was written whole, if there is one.

    Raises:
        BadArgument: the checkpoint named is none, or half of one.
    """
    asked = training.resume_from_checkpoint
    if asked is None:
        return None
    if asked != LATEST:
        if not _is_whole(Path(asked)):
            raise BadArgument(f"--resume_from_checkpoint: {asked} is no checkpoint, or only half of one")
        return asked
    found = [folder for folder in Path(training.output_dir).glob(f"{CHECKPOINT}*") if _is_whole(folder)]
    return str(max(found, key=_read_step)) if found else None


def read_data(options: DataOptions, training: TrainingOptions) -> tuple[Rows, Rows]:
    """The rows to train on and to evaluate by, by file.

    Raises:
        BadTrainingFile: they can't be used.
    """
    train_rows = read_files(find_files(options.train_data), options.knowledge_distillation)
    most = options.max_example_num_per_dataset
    train_rows = {file: sample_rows(rows, most, training.seed) for file, rows in train_rows.items()}
    eval_rows = read_files(find_files(options.eval_data or []), needs_scores=False)
    for found in (train_rows, eval_rows):
        refuse_contradictions(_list_rows(found))
    refuse_leaks(_list_rows(train_rows), _list_rows(eval_rows))
    return train_rows, eval_rows


def make_callbacks(training: TrainingOptions) -> list[TrainerCallback]:
    """What watches a training: the log as CSV, and who stops it early."""
    callbacks: list[TrainerCallback] = [CsvLog()]
    if training.early_stopping_patience is not None:
        callbacks.append(
            EarlyStoppingCallback(training.early_stopping_patience, training.early_stopping_threshold)
        )
    return callbacks


def _list_rows(by_file: Rows) -> list[TrainingRow]:
    return [row for rows in by_file.values() for row in rows]


def _refuse_too_few(rows: Sequence[TrainingRow], training: TrainingOptions) -> None:
    at_once = training.train_batch_size * training.world_size
    if training.dataloader_drop_last and len(rows) < at_once:
        raise BadArgument(
            f"--per_device_train_batch_size: a batch takes {at_once} groups and there are {len(rows)} rows; "
            "make it smaller, or --dataloader_drop_last false"
        )


def _is_whole(folder: Path) -> bool:
    """Was the checkpoint's last file written to its end?"""
    try:
        json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _read_step(folder: Path) -> int:
    return int(folder.name.removeprefix(CHECKPOINT))


def _finish(
    options: Options, student: Student, model: torch.nn.Module, rows: dict[str, Rows], history: Any
) -> None:
    """Cast and merge the adapter, and describe what was trained."""
    model_options, _, training = options
    folder = Path(training.output_dir)
    uses_adapter = isinstance(model, PeftModel)
    notes = []
    if uses_adapter:
        adapters.cast_adapter(folder, getattr(torch, model_options.adapter_dtype))
    raw = model_options.raw_peft or []
    if raw:
        notes.append(f"It belongs to that model with these adapters merged into it: {', '.join(raw)}.")
    if uses_adapter and model_options.save_merged_lora_model:
        merge_adapters(student, [*raw, str(folder)], folder / MERGED)
        notes.append(f"The model with everything merged into it is in `{MERGED}`.")
    write_card(
        folder,
        options,
        family=student.family.value,
        uses_adapter=uses_adapter,
        files={split: [(file, len(found)) for file, found in read.items()] for split, read in rows.items()},
        history=history,
        notes=notes,
    )

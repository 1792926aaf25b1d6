"""One training from its options to the saved model or adapter."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import EarlyStoppingCallback, TrainerCallback, set_seed

from rerankers.auto import RerankerConfig, choose_config
from rerankers.base import Instruction
from rerankers.detection import CONFIG_FILE, RerankerModelClass, read_json
from rerankers.devices import default_token_budget
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
from rerankers.finetune.groups import GroupCollator, GroupDataset, Texts
from rerankers.finetune.merge import merge_adapters
from rerankers.finetune.ranking import encode_candidates
from rerankers.finetune.raw import find_seed, make_layered
from rerankers.finetune.refused import refuse_for_family, refuse_senseless
from rerankers.finetune.rows import (
    TrainingRow,
    find_files,
    read_files,
    refuse_contradictions,
    refuse_leaks,
    sample_rows,
)
from rerankers.finetune.students import STUDENTS, LayeredStudent, Student, Wishes
from rerankers.finetune.trainer import GroupTrainer
from rerankers.hub import HubAccess
from rerankers.loading import load_adapter
from rerankers.sequences import Limits

MERGED = "merged_model"
WITH_HEADS = "base_with_heads"
STATE_FILE = "trainer_state.json"
CHECKPOINT = "checkpoint-"

INSTRUCTIONS = ("query_instruction", "passage_instruction")
PLAIN = "{}{}"
SHARDED_BY = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")

FAMILY_NAMES = {
    "encoder": RerankerModelClass.ENCODER_ONLY_BASE,
    "decoder": RerankerModelClass.DECODER_ONLY_BASE,
}
"""What ``--model_type`` says of the family."""

Rows = dict[Path, list[TrainingRow]]


def main(arguments: list[str] | None = None, prog: str = "python -m rerankers finetune") -> None:
    """Fine-tune as a command line says; see ``--help``."""
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


def tell_config(options: ModelOptions) -> RerankerConfig:
    """The family that is trained, and how its published model is asked.

    Raises:
        BadArgument: nothing tells the family, or two options tell two.
    """
    path = options.model_name_or_path.rstrip("/")
    access = HubAccess(options.trust_remote_code, options.cache_dir)
    if options.model_type == "from_raw_model":
        family = find_seed(read_json(path, CONFIG_FILE, access) or {}).family
    elif options.model_type in FAMILY_NAMES:
        family = FAMILY_NAMES[options.model_type]
    else:
        return choose_config(path, options.model_class, access)
    if options.model_class not in (None, family.value):
        raise BadArgument(
            f"--model_class: {options.model_class}, but --model_type {options.model_type} is {family.value}"
        )
    return RerankerConfig(family)


def make_student(config: RerankerConfig, model: ModelOptions, data: DataOptions) -> Student:
    """The family with what the options wish of it, and its tokenizer."""
    path = model.model_name_or_path
    published = config.arguments
    wishes = Wishes(
        limits=read_limits(data),
        prompt=published.get("prompt") if data.prompt is None else data.prompt,
        separator=published.get("separator") if data.sep_token is None else data.sep_token,
        answers=data.answers or published.get("answers", ()),
        multiple_of=data.pad_to_multiple_of or 1,
        attn_implementation="flash_attention_2" if model.use_flash_attn else None,
        start_layer=model.start_layer,
        compress_layers=model.compress_layers,
        compress_ratios=model.compress_ratios,
    )
    access = HubAccess(model.trust_remote_code, model.cache_dir)
    return STUDENTS[config.model_class](path, model.tokenizer_name or path, access, wishes)


def read_limits(options: DataOptions) -> Limits:
    """The limits published rerankers were trained with: each text may use a part of the other's room."""
    query, passage = options.query_max_len, options.passage_max_len
    return Limits(query + passage // 4, passage + query // 2, min(options.max_len, query + passage))


def make_model(student: Student, options: ModelOptions, training: TrainingOptions) -> Any:
    """Load what is trained, under its adapter where there is one.

    Raises: see ``finetune``.
    """
    uses_adapter = adapters.wants_adapter(options, student)
    if options.load_in_4bit and not uses_adapter:
        raise BadArgument("--load_in_4bit: weights in 4 bits can't be trained themselves; train an adapter")
    quantization = adapters.make_quantization(training) if options.load_in_4bit else None
    if options.model_type == "from_raw_model" and isinstance(student, LayeredStudent):
        student.path = _make_layered(student, options, training)
    model: Any
    model, unfilled = student.load(quantization)
    if options.head_multi is not None and options.head_multi == model.layout.has_shared_head:
        raise BadArgument(f"--head_multi: {options.head_multi}, but the model's heads are otherwise")
    if uses_adapter:
        adapters.refuse_lost(unfilled, options, student)
    if quantization is not None:
        model = adapters.prepare_quantized(model, training)
    for path in options.raw_peft or []:
        model = load_adapter(model, path).merge_and_unload()
    student.prepare(model, is_plain=_is_plain(training))
    if not uses_adapter:
        return model
    adapted = adapters.add_adapter(model, options, student)
    if training.process_index == 0:
        adapted.print_trainable_parameters()
    return adapted


def choose_token_budget(training: TrainingOptions) -> int | None:
    """Tokens a forward pass; None, one pass a step, where the parts of a model are gathered for each."""
    if _is_sharded(training):
        return training.token_budget
    return training.token_budget or default_token_budget(training.device)


def read_texts(student: Student, config: RerankerConfig, options: DataOptions) -> Texts:
    """The instructions around query and passage: those given, else those of the model's scoring."""
    own = dict(zip(INSTRUCTIONS, student.instructions, strict=True))

    def read(side: str) -> Instruction:
        text, form = (f"{side}_{part}" for part in ("for_rerank", "format"))
        asked = {name: getattr(options, name) for name in (text, form)}
        scored = {text: own[side], form: PLAIN} | dict(config.arguments)
        found = {name: scored[name] if value is None else value for name, value in asked.items()}
        return Instruction(found[text], found[form])

    query, passage = map(read, INSTRUCTIONS)
    return Texts(query, passage)


def tell_arguments(student: Student, texts: Texts, rows: Sequence[TrainingRow]) -> dict[str, Any]:
    """The constructor arguments by which scoring does as training did, where its family's own are others."""
    told = student.tell_arguments({row.prompt for row in rows})
    used = (texts.query, texts.passage)
    for side, instruction, own in zip(INSTRUCTIONS, used, student.instructions, strict=True):
        if instruction != Instruction(own, PLAIN):
            told[f"{side}_for_rerank"] = instruction.text
            told[f"{side}_format"] = instruction.format
    return told


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


def _make_layered(student: LayeredStudent, options: ModelOptions, training: TrainingOptions) -> str:
    """Write the reranker that a plain model becomes, once for all processes; gives its folder."""
    folder = Path(training.output_dir) / WITH_HEADS
    with training.main_process_first(desc="new heads"):
        if not (folder / CONFIG_FILE).exists():
            make_layered(student, str(folder), options.start_layer, options.head_multi)
    return str(folder)


def _is_sharded(training: TrainingOptions) -> bool:
    """Is the model spread over processes, as an option or accelerate's own configuration says?"""
    by_accelerate = any(os.environ.get(name) == "true" for name in SHARDED_BY)
    return bool(training.fsdp or training.deepspeed or by_accelerate)


def _is_plain(training: TrainingOptions) -> bool:
    is_cpu = training.device.type == "cpu"
    return is_cpu and not _is_sharded(training) and not training.activation_checkpointing


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

"""What the options ask for, made: the family, its model under an adapter, the texts around its pairs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relevance.rows import TrainingRow
from rerankers.auto import RerankerConfig, choose_config
from rerankers.base import Instruction
from rerankers.detection import CONFIG_FILE, RerankerModelClass, read_json
from rerankers.devices import default_token_budget
from rerankers.errors import BadArgument
from rerankers.finetune import adapters
from rerankers.finetune.arguments import DataOptions, ModelOptions, TrainingOptions
from rerankers.finetune.groups import Texts
from rerankers.finetune.raw import find_seed, make_layered
from rerankers.finetune.students import STUDENTS, LayeredStudent, Student, Wishes
from rerankers.hub import HubAccess
from rerankers.loading import load_adapter
from rerankers.sequences import Limits

WITH_HEADS = "base_with_heads"
INSTRUCTIONS = ("query_instruction", "passage_instruction")
PLAIN = "{}{}"
SHARDED_BY = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")

FAMILY_NAMES = {
    "encoder": RerankerModelClass.ENCODER_ONLY_BASE,
    "decoder": RerankerModelClass.DECODER_ONLY_BASE,
}
"""What ``--model_type`` says of the family."""


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
    if not uses_adapter:
        adapters.refuse_unused(options)
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


def choose_token_budget(training: TrainingOptions) -> int | None:
    """Tokens a forward pass; None, one pass a step, where the parts of a model are gathered for each."""
    if _is_sharded(training):
        return training.token_budget
    return training.token_budget or default_token_budget(training.device)


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

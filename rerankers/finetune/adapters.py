"""Adapters in training: laid over a frozen model, perhaps a quantised one, continued, and saved."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.utils.import_utils import is_bitsandbytes_available

from rerankers.errors import BadArgument
from rerankers.finetune.arguments import ModelOptions, TrainingOptions
from rerankers.finetune.students import Student
from rerankers.loading import ADAPTER_PREFIX, load_adapter, read_adapter, refuse_unfilled

ADAPTER_FILE = "adapter_model.safetensors"
DEFAULT_RANK = 64


def wants_adapter(options: ModelOptions, student: Student) -> bool:
    """Is an adapter trained, rather than every weight?"""
    if options.use_lora is not None:
        return options.use_lora
    asked = options.from_peft is not None or bool(options.lora_rank)
    return asked or (student.uses_lora and options.lora_rank != 0)


def refuse_unused(options: ModelOptions) -> None:
    """Raise BadArgument for what shapes an adapter where none is trained."""
    for name in ("lora_dropout", "target_modules", "modules_to_save", "save_merged_lora_model"):
        if getattr(options, name):
            raise BadArgument(f"--{name}: every weight is trained; --lora_rank asks for an adapter")


def add_adapter(model: torch.nn.Module, options: ModelOptions, student: Student) -> PeftModel:
    """Lay a trainable adapter over a frozen model: a new one, or that of ``from_peft``.

    Raises:
        BadCheckpoint: ``from_peft`` does not fit the model.
        BadArgument: the model has no such layers.
    """
    if options.from_peft is not None:
        continued: PeftModel = load_adapter(model, options.from_peft, is_trainable=True)
        return continued
    targets = list(student.target_modules if options.target_modules is None else options.target_modules)
    dropout = student.lora_dropout if options.lora_dropout is None else options.lora_dropout
    config = LoraConfig(
        task_type=student.task_type if isinstance(model, PreTrainedModel) else None,
        r=DEFAULT_RANK if options.lora_rank is None else options.lora_rank,
        lora_alpha=options.lora_alpha,  # type: ignore[arg-type]  # peft only divides it
        lora_dropout=dropout,
        target_modules="all-linear" if targets == ["all-linear"] else targets,
        modules_to_save=_find_layers(model, list_saved(options, student)) or None,
    )
    try:
        adapted: PeftModel = get_peft_model(model, config)
    except (ValueError, TypeError) as error:
        raise BadArgument(f"--target_modules, --modules_to_save: {error}") from error
    config.task_type = student.task_type  # for those who read it; peft's own class needs a transformers model
    return adapted


def _find_layers(model: torch.nn.Module, endings: list[str]) -> list[str]:
    """The names of the layers that peft saves for these, which are all that end so; it must be told each."""
    names = {name for name, _ in model.named_modules()}
    for ending in endings:
        if not any(name.endswith(ending) for name in names):
            raise BadArgument(f"--modules_to_save: the model has no layer {ending}")
    return sorted({name.rsplit(".", 1)[-1] for name in names if name.endswith(tuple(endings))})


def list_saved(options: ModelOptions, student: Student) -> list[str]:
    """The layers that are trained whole beside an adapter."""
    return list(student.modules_to_save if options.modules_to_save is None else options.modules_to_save)


def refuse_lost(unfilled: dict[str, str], options: ModelOptions, student: Student) -> None:
    """Raise BadCheckpoint for what starts from scratch and would not be saved with the adapter."""
    saved = set(list_saved(options, student))
    brought = {name for name in unfilled if set(name.split(".")) & saved}
    if options.from_peft is not None:
        brought = {name.removeprefix(ADAPTER_PREFIX) for name in read_adapter(options.from_peft)}
    refuse_unfilled(student.path, unfilled, brought)


def make_quantization(training: TrainingOptions) -> BitsAndBytesConfig:
    """How a frozen base is held in 4 bits.

    Raises:
        BadArgument: it can't be here.
    """
    if training.device.type != "cuda":
        raise BadArgument(f"--load_in_4bit: needs a GPU of NVIDIA's, this is {training.device.type}")
    if not is_bitsandbytes_available():
        raise BadArgument("--load_in_4bit: needs the package bitsandbytes")
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float16 if training.fp16 else torch.bfloat16,
    )


def prepare_quantized(model: Any, training: TrainingOptions) -> Any:
    """Ready a base in 4 bits for the adapter that is trained over it."""
    recomputes = bool(training.activation_checkpointing)
    return prepare_model_for_kbit_training(model, recomputes)  # type: ignore[no-untyped-call]


def cast_adapter(folder: Path, dtype: torch.dtype) -> None:
    """Rewrite a saved adapter in another precision."""
    file = folder / ADAPTER_FILE
    with safe_open(file, framework="pt") as saved:
        weights = {name: saved.get_tensor(name).to(dtype) for name in saved.keys()}  # noqa: SIM118
        metadata = saved.metadata()
    save_file(weights, file, metadata)

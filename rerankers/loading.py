"""How a checkpoint, and an adapter laid over it, become a model with every weight trained."""

import logging
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import torch
from huggingface_hub import load_torch_model
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from rerankers.detection import ADAPTER_CONFIG_FILE, CONFIG_FILE, RerankerModelClass, detect_family, read_json
from rerankers.errors import BadArgument, BadCheckpoint
from rerankers.hub import HubAccess, find_folder, is_local, refuse_missing_folder
from rerankers.weights import read_headers

ADAPTER_PREFIX = "base_model.model."
"""What peft puts before the names of a model's own weights."""


Loaded = tuple[torch.nn.Module, dict[str, str]]
"""A model, and the name of every weight that its checkpoint did not fill, with the reason."""
MakeModel = Callable[[dict[str, Any]], torch.nn.Module]
"""Builds a model for what its config.json says."""


class Loader(Protocol):
    """Loads the model in a folder, or of that name on the hub, with weights of that precision.

    Without reading weights it gives the same model on the device ``meta``, where tensors have shapes but no
    numbers, and the same errors; on the hub the files of the weights are then not looked at.
    """

    def __call__(
        self, path: str, dtype: torch.dtype, access: HubAccess, reads_weights: bool = True
    ) -> Loaded: ...


def load_reranker_model(
    family: RerankerModelClass,
    load: Loader,
    path: str,
    adapter_path: str | None,
    dtype: torch.dtype,
    access: HubAccess,
    reads_weights: bool = True,
) -> torch.nn.Module:
    """Load a model whose every weight was trained, its adapter merged into it.

    Args:
        family: what the model is to be.
        load: how that family's models are loaded.
        reads_weights: see ``Loader``.

    Raises:
        BadCheckpoint: a folder or its weights are missing; the weights hold no head, or one with several
            labels, and the adapter brings none; the adapter belongs to another base model; the model is of
            another family, which the message names.
    """
    try:
        return _load_trained(load, path, adapter_path, dtype, access, reads_weights)
    except BadCheckpoint as error:
        found = _detect_quietly(path, access)
        if found in (None, family):
            raise
        raise BadCheckpoint(f"{error}; its {CONFIG_FILE} says {found.value}, not {family.value}") from error


def _detect_quietly(path: str, access: HubAccess) -> RerankerModelClass | None:
    try:
        return detect_family(path, replace(access, only_fetched=True))
    except BadArgument:  # nothing of it was fetched
        return None


def _load_trained(
    load: Loader,
    path: str,
    adapter_path: str | None,
    dtype: torch.dtype,
    access: HubAccess,
    reads_weights: bool,
) -> torch.nn.Module:
    if adapter_path is None:
        model, unfilled = load(path, dtype, access, reads_weights)
        refuse_unfilled(path, unfilled, brought=())
        return model
    model, unfilled = load(path, torch.float32, access, reads_weights)  # merged in full precision, then cast
    adapter_path = _locate_adapter(adapter_path, access)
    weights = read_adapter(adapter_path)
    refuse_unfilled(path, unfilled, brought={name.removeprefix(ADAPTER_PREFIX) for name in weights})
    merged: torch.nn.Module = _lay_over(model, adapter_path, weights).merge_and_unload()
    return merged.to(dtype)


def load_classifier(
    path: str,
    dtype: torch.dtype,
    access: HubAccess,
    reads_weights: bool = True,
    attn_implementation: str | None = None,
    quantization: Any = None,
) -> tuple[PreTrainedModel, dict[str, str]]:
    """Load a checkpoint with a head of one label, fresh where the checkpoint has none."""
    return _load(
        AutoModelForSequenceClassification,
        path,
        dtype,
        access,
        reads_weights,
        num_labels=1,
        ignore_mismatched_sizes=True,
        attn_implementation=attn_implementation,
        **({} if quantization is None else {"quantization_config": quantization}),
    )


def load_language_model(
    path: str,
    dtype: torch.dtype,
    access: HubAccess,
    reads_weights: bool = True,
    attn_implementation: str | None = None,
    quantization: Any = None,
) -> tuple[PreTrainedModel, dict[str, str]]:
    """Load a checkpoint with a head over its vocabulary."""
    return _load(
        AutoModelForCausalLM,
        path,
        dtype,
        access,
        reads_weights,
        attn_implementation=attn_implementation,
        **({} if quantization is None else {"quantization_config": quantization}),
    )


def _load(
    auto_class: Any,
    path: str,
    dtype: torch.dtype,
    access: HubAccess,
    reads_weights: bool,
    **options: Any,
) -> tuple[PreTrainedModel, dict[str, str]]:
    if not reads_weights and not is_local(path):
        return _make(auto_class, path, dtype, access, **options)
    refuse_missing_folder(path)
    with _translate_load_errors(path), _hide_load_report():
        model, report = auto_class.from_pretrained(
            path,
            dtype=dtype,
            trust_remote_code=access.trust_remote_code,
            cache_dir=access.cache_dir,
            revision=access.revision or "main",
            output_loading_info=True,
            device_map=None if reads_weights else "meta",
            **options,
        )
    unfilled = dict.fromkeys(report["missing_keys"], "is not in the checkpoint")
    for name, found, wanted in report["mismatched_keys"]:
        unfilled[name] = f"has shape {tuple(found)} instead of {tuple(wanted)}"
    return model, unfilled


def _make(
    auto_class: Any, path: str, dtype: torch.dtype, access: HubAccess, **options: Any
) -> tuple[PreTrainedModel, dict[str, str]]:
    """A model on ``meta`` from its config.json alone; every weight counts as filled."""
    with _translate_load_errors(path), torch.device("meta"):
        config = AutoConfig.from_pretrained(
            path,
            trust_remote_code=access.trust_remote_code,
            cache_dir=access.cache_dir,
            revision=access.revision or "main",
            **options,
        )
        model = auto_class.from_config(config, dtype=dtype, trust_remote_code=access.trust_remote_code)
    return model, {}


def load_native(
    make: MakeModel, path: str, dtype: torch.dtype, access: HubAccess, reads_weights: bool = True
) -> Loaded:
    """Load a model of ours, which ``make`` builds from config.json, or refuses by a ValueError."""
    refuse_missing_folder(path)
    with _translate_load_errors(path):
        folder = find_folder(path, access) if reads_weights else path
        with torch.device("meta"):
            model = make(read_json(folder, CONFIG_FILE, access) or {}).to(dtype)
        if reads_weights:
            model.to_empty(device="cpu")
            # safetensors or, without code in it, .bin
            report: Any = load_torch_model(model, folder, safe=False)
        else:
            stored = read_headers(path) if is_local(path) else model.state_dict()
            report = model.load_state_dict(stored, strict=False)
    return model, dict.fromkeys(report.missing_keys, "is not in the checkpoint")


def load_tokenizer(path: str, access: HubAccess) -> PreTrainedTokenizerBase:
    """Load the tokenizer that belongs to a checkpoint."""
    refuse_missing_folder(path)
    with _translate_load_errors(path):
        return AutoTokenizer.from_pretrained(
            path,
            trust_remote_code=access.trust_remote_code,
            cache_dir=access.cache_dir,
            revision=access.revision or "main",
        )


def load_prompt_tokenizer(path: str, access: HubAccess) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a language model exactly as its tokenizer.json says.

    The class that transformers 5 chooses for Llama's kin leaves out the normaliser, which changes every id.
    """
    refuse_missing_folder(path)
    with _translate_load_errors(path):
        tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(
            path, cache_dir=access.cache_dir, revision=access.revision or "main"
        )
    return tokenizer


def refuse_unfilled(path: str, unfilled: dict[str, str], brought: Collection[str]) -> None:
    """Raise BadCheckpoint when a weight is neither filled by the checkpoint nor brought by an adapter."""
    untrained = {name: reason for name, reason in unfilled.items() if name not in brought}
    if not untrained:
        return
    name, reason = min(untrained.items())
    advice = (
        "a reranker has one label, a classifier of two or more has no single score to rank by"
        if "shape" in reason
        else "the model was never trained as a reranker: fine-tune it, or give an adapter (peft_path)"
    )
    raise BadCheckpoint(f"{path}: weight {name} {reason}; {advice}")


def count_positions(model: torch.nn.Module) -> int | None:
    """The longest sequence that a model can read; None when its configuration names none.

    RoBERTa's kin count positions from the padding id on, so a table of 514 rows holds 512 tokens.
    """
    max_positions: int | None = getattr(model.config, "max_position_embeddings", None)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            reserved = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - reserved
    return max_positions


def _locate_adapter(path: str, access: HubAccess) -> str:
    """The adapter's folder; on the hub its main branch counts, since the revision is the model's."""
    refuse_missing_folder(path)
    with _translate_load_errors(path):
        return find_folder(path, replace(access, revision=None))


def read_adapter(path: str) -> dict[str, torch.Tensor]:
    """The weights in an adapter's folder.

    Raises:
        BadCheckpoint: there are none, or they are damaged.
    """
    if read_json(path, ADAPTER_CONFIG_FILE) is None:
        raise BadCheckpoint(f"{path}: holds no adapter ({ADAPTER_CONFIG_FILE} is missing)")
    from peft.utils import load_peft_weights  # peft takes seconds to import: only those who need it pay

    try:
        return dict(load_peft_weights(path, device="cpu"))
    except (OSError, ValueError, SafetensorError) as error:
        raise BadCheckpoint(f"{path}: the adapter's weights can't be read ({error})") from error


def load_adapter(model: torch.nn.Module, path: str, is_trainable: bool = False) -> Any:
    """Lay the adapter in a folder over a model; gives peft's model of both.

    Raises:
        BadCheckpoint: there is no adapter in it, or one that does not fit the model.
    """
    return _lay_over(model, path, read_adapter(path), is_trainable)


def _lay_over(
    model: torch.nn.Module, path: str, weights: dict[str, torch.Tensor], is_trainable: bool = False
) -> Any:
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict

    try:
        config = PeftConfig.from_pretrained(path)
        task_type = config.task_type
        if not isinstance(model, PreTrainedModel):
            config.task_type = None  # peft's classes for tasks want a model of transformers
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*copying from a non-meta parameter")  # where none are read
            # peft still asks by this name
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            adapted = PeftModel.from_pretrained(model, path, config=config, is_trainable=is_trainable)
    except (ValueError, RuntimeError) as error:  # no such layers; layers of other sizes
        raise BadCheckpoint(f"{path}: the adapter does not fit this base model ({error})") from error
    base_name = adapted.active_peft_config.base_model_name_or_path
    adapted.active_peft_config.base_model_name_or_path = None  # or peft asks the hub for that model's files
    strangers = set(weights) ^ set(get_peft_model_state_dict(adapted))
    if strangers:
        raise BadCheckpoint(f"{path}: the adapter does not fit this base model (weight {min(strangers)})")
    adapted.active_peft_config.base_model_name_or_path = base_name
    config.task_type = task_type
    return adapted


@contextmanager
def _translate_load_errors(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise BadCheckpoint(f"{path}: can't be loaded ({error})") from error


@contextmanager
def _hide_load_report() -> Iterator[None]:
    """Keep the table of untrained weights out of the log: they are refused, or filled by the adapter."""

    def is_other(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)

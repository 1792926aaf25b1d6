"""How a checkpoint, and an adapter laid over it, become a sequence classifier with one label."""

import json
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rerankers.errors import BadCheckpoint

CONFIG_FILE = "config.json"
ADAPTER_CONFIG_FILE = "adapter_config.json"
ADAPTER_PREFIX = "base_model.model."
"""What peft puts before the names of a model's own weights."""


@dataclass(frozen=True)
class HubAccess:
    """How files that are not in a local folder are found, and whether code among them may run."""

    trust_remote_code: bool = False
    cache_dir: str | None = None


def load_reranker_model(
    path: str, adapter_path: str | None, dtype: torch.dtype, access: HubAccess
) -> torch.nn.Module:
    """Load a classifier whose every weight was trained, its adapter merged into it.

    Raises:
        BadCheckpoint: a folder or its weights are missing; the weights hold no head, or one with several
            labels, and the adapter brings none; the adapter belongs to another base model.
    """
    if adapter_path is None:
        model, unfilled = load_classifier(path, dtype, access)
        refuse_unfilled(path, unfilled, brought=())
        return model
    model, unfilled = load_classifier(path, torch.float32, access)  # merged in full precision, then cast
    weights = _read_adapter(adapter_path)
    refuse_unfilled(path, unfilled, brought={name.removeprefix(ADAPTER_PREFIX) for name in weights})
    return _merge_adapter(model, adapter_path, weights).to(dtype)


def load_classifier(
    path: str, dtype: torch.dtype, access: HubAccess
) -> tuple[PreTrainedModel, dict[str, str]]:
    """Load a checkpoint with a head of one label, fresh where the checkpoint has none.

    Returns:
        The model, and the name of every weight that the checkpoint did not fill, with the reason.
    """
    _refuse_missing_folder(path)
    with _translate_load_errors(path), _hide_load_report():
        model, report = AutoModelForSequenceClassification.from_pretrained(
            path,
            num_labels=1,
            dtype=dtype,
            trust_remote_code=access.trust_remote_code,
            cache_dir=access.cache_dir,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    unfilled = dict.fromkeys(report["missing_keys"], "is not in the checkpoint")
    for name, found, wanted in report["mismatched_keys"]:
        unfilled[name] = f"has shape {tuple(found)} instead of {tuple(wanted)}"
    return model, unfilled


def load_tokenizer(path: str, access: HubAccess) -> PreTrainedTokenizerBase:
    """Load the tokenizer that belongs to a checkpoint."""
    _refuse_missing_folder(path)
    with _translate_load_errors(path):
        return AutoTokenizer.from_pretrained(
            path, trust_remote_code=access.trust_remote_code, cache_dir=access.cache_dir
        )


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


def read_json(folder: str, name: str) -> dict[str, Any] | None:
    """Read a checkpoint's JSON file; None when the folder has none."""
    file = Path(folder) / name
    if not file.is_file():
        return None
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise BadCheckpoint(f"{file}: is not a JSON object ({error})") from error


def _read_adapter(path: str) -> dict[str, torch.Tensor]:
    _refuse_missing_folder(path)
    if Path(path).is_dir() and read_json(path, ADAPTER_CONFIG_FILE) is None:
        raise BadCheckpoint(f"{path}: holds no adapter ({ADAPTER_CONFIG_FILE} is missing)")
    from peft.utils import load_peft_weights  # peft takes seconds to import: only those who need it pay

    try:
        return dict(load_peft_weights(path, device="cpu"))
    except (OSError, ValueError, SafetensorError) as error:
        raise BadCheckpoint(f"{path}: the adapter's weights can't be read ({error})") from error


def _merge_adapter(model: PreTrainedModel, path: str, weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    from peft import PeftModel, get_peft_model_state_dict

    try:
        adapted = PeftModel.from_pretrained(model, path)
    except (ValueError, RuntimeError) as error:  # no such layers; layers of other sizes
        raise BadCheckpoint(f"{path}: the adapter does not fit this base model ({error})") from error
    adapted.active_peft_config.base_model_name_or_path = None  # or peft asks the hub for that model's files
    strangers = set(weights) ^ set(get_peft_model_state_dict(adapted))
    if strangers:
        raise BadCheckpoint(f"{path}: the adapter does not fit this base model (weight {min(strangers)})")
    merged: torch.nn.Module = adapted.merge_and_unload()
    return merged


def _refuse_missing_folder(path: str) -> None:
    """Tell a folder that is not there from the name of a model on the hub (``name`` or ``owner/name``)."""
    looks_local = path.startswith((".", "/", "~")) or path.count("/") > 1 or not path
    if looks_local and not Path(path).is_dir():
        raise BadCheckpoint(f"{path!r}: no such folder")


@contextmanager
def _translate_load_errors(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError) as error:
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

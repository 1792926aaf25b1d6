"""Which family a model is of, by its configuration files; knows no class that runs it."""

import json
from dataclasses import dataclass, replace
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any

from rerankers.errors import BadArgument, BadCheckpoint
from rerankers.hub import DEFAULT_ACCESS, HubAccess, find_file

CONFIG_FILE = "config.json"
ADAPTER_CONFIG_FILE = "adapter_config.json"


class RerankerModelClass(Enum):
    """The families of rerankers, by the names that ``model_class`` takes."""

    ENCODER_ONLY_BASE = "encoder-only-base"
    DECODER_ONLY_BASE = "decoder-only-base"
    DECODER_ONLY_LAYERWISE = "decoder-only-layerwise"
    DECODER_ONLY_LIGHTWEIGHT = "decoder-only-lightweight"


ARCHITECTURE_FAMILIES = (
    ("LayerWiseMiniCPMForCausalLM", RerankerModelClass.DECODER_ONLY_LAYERWISE),
    ("CostWiseGemmaForCausalLM", RerankerModelClass.DECODER_ONLY_LIGHTWEIGHT),
    ("*ForSequenceClassification", RerankerModelClass.ENCODER_ONLY_BASE),
    ("*ForMaskedLM", RerankerModelClass.ENCODER_ONLY_BASE),
    ("*ForCausalLM", RerankerModelClass.DECODER_ONLY_BASE),
)
"""What ``architectures`` in config.json tells; the first pattern that fits counts."""

ENCODER_MODEL_TYPES = frozenset(
    {
        "albert",
        "bert",
        "camembert",
        "deberta",
        "deberta-v2",
        "distilbert",
        "electra",
        "ernie",
        "modernbert",
        "mpnet",
        "roberta",
        "xlm-roberta",
    }
)
"""``model_type`` in config.json of the encoders, for base models without a head (``BertModel``)."""

ADAPTER_TASK_FAMILIES = {
    "SEQ_CLS": RerankerModelClass.ENCODER_ONLY_BASE,
    "CAUSAL_LM": RerankerModelClass.DECODER_ONLY_BASE,
}
"""What ``task_type`` in adapter_config.json tells."""

LAYERED_FAMILIES = (RerankerModelClass.DECODER_ONLY_LAYERWISE, RerankerModelClass.DECODER_ONLY_LIGHTWEIGHT)
"""Those whose adapters call themselves adapters of language models."""


@dataclass(frozen=True)
class Description:
    """What a model says about itself; of an adapter only ``adapter`` is there."""

    config: dict[str, Any] | None = None
    adapter: dict[str, Any] | None = None


def read_description(path: str, access: HubAccess) -> Description:
    """Read the configuration of a model or adapter, in its folder or on the hub.

    Raises:
        BadCheckpoint: a file is damaged.
        BadArgument: the hub can't be asked, and nothing was fetched before.
    """
    try:
        config = read_json(path, CONFIG_FILE, access)
    except BadArgument:
        adapter = _read_fetched(path, ADAPTER_CONFIG_FILE, access)
        if adapter is None:
            raise
        return Description(adapter=adapter)
    if config is not None:
        return Description(config)
    return Description(adapter=read_json(path, ADAPTER_CONFIG_FILE, access))


def explain_family(path: str, access: HubAccess = DEFAULT_ACCESS) -> tuple[RerankerModelClass, str] | None:
    """Tell a model's family, and by what, from its configuration; None when that does not tell.

    Raises: see ``read_description``.
    """
    found = read_description(path, access)
    if found.config is not None:
        return _detect_from_config(found.config)
    return _detect_from_adapter(found.adapter or {}, access)


def _detect_from_adapter(adapter: dict[str, Any], access: HubAccess) -> tuple[RerankerModelClass, str] | None:
    """By its task, unless its base model is of a family whose adapters have the same task as another's."""
    task = str(adapter.get("task_type"))
    by_task = ADAPTER_TASK_FAMILIES.get(task)
    if by_task is not RerankerModelClass.ENCODER_ONLY_BASE:
        of_base = _detect_from_config(_read_base_config(adapter.get("base_model_name_or_path"), access))
        if of_base is not None and of_base[0] in LAYERED_FAMILIES:
            return of_base[0], f"{of_base[1]} of its base model"
    return None if by_task is None else (by_task, f"task_type {task} in {ADAPTER_CONFIG_FILE}")


def _read_base_config(path: object, access: HubAccess) -> dict[str, Any]:
    if not isinstance(path, str):
        return {}
    try:
        return read_json(path, CONFIG_FILE, replace(access, revision=None)) or {}
    except BadArgument:  # loading it will tell
        return {}


def detect_family(path: str, access: HubAccess = DEFAULT_ACCESS) -> RerankerModelClass | None:
    """The family alone that ``explain_family`` finds."""
    found = explain_family(path, access)
    return None if found is None else found[0]


def _detect_from_config(config: dict[str, Any]) -> tuple[RerankerModelClass, str] | None:
    for architecture in config.get("architectures") or []:
        for pattern, family in ARCHITECTURE_FAMILIES:
            if fnmatchcase(architecture, pattern):
                return family, f"architectures {architecture} in {CONFIG_FILE}"
    if config.get("model_type") not in ENCODER_MODEL_TYPES:
        return None
    return RerankerModelClass.ENCODER_ONLY_BASE, f"model_type {config['model_type']} in {CONFIG_FILE}"


def read_json(path: str, name: str, access: HubAccess = DEFAULT_ACCESS) -> dict[str, Any] | None:
    """Read a checkpoint's JSON file; None when it has none.

    Raises:
        BadCheckpoint: the file is damaged.
        BadArgument: see ``find_file``.
    """
    file = find_file(path, name, access)
    if file is None:
        return None
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise BadCheckpoint(f"{file}: is not a JSON object ({error})") from error


def _read_fetched(path: str, name: str, access: HubAccess) -> dict[str, Any] | None:
    try:
        return read_json(path, name, replace(access, only_fetched=True))
    except BadArgument:
        return None

"""Which family a model is of, by the configuration files in its folder; knows no class that runs it."""

import json
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rerankers.errors import BadCheckpoint

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


def detect_family(path: str) -> RerankerModelClass | None:
    """Tell a model's family from the files in its folder; None when they don't tell, or it is no folder."""
    config = read_json(path, CONFIG_FILE)
    adapter = read_json(path, ADAPTER_CONFIG_FILE)
    if config is not None:
        return _detect_from_config(config)
    return None if adapter is None else ADAPTER_TASK_FAMILIES.get(str(adapter.get("task_type")))


def _detect_from_config(config: dict[str, Any]) -> RerankerModelClass | None:
    for architecture in config.get("architectures") or []:
        for pattern, family in ARCHITECTURE_FAMILIES:
            if fnmatchcase(architecture, pattern):
                return family
    return RerankerModelClass.ENCODER_ONLY_BASE if config.get("model_type") in ENCODER_MODEL_TYPES else None


def read_json(folder: str, name: str) -> dict[str, Any] | None:
    """Read a checkpoint's JSON file; None when the folder has none."""
    file = Path(folder) / name
    if not file.is_file():
        return None
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise BadCheckpoint(f"{file}: is not a JSON object ({error})") from error

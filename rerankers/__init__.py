"""Cross-encoder rerankers: they read a query and a passage together and say how well the passage answers.

>>> reranker = FlagAutoReranker.from_finetuned("folder/of/a/model")   # doctest: +SKIP
>>> reranker.compute_score([("query", "passage"), ("query", "other")])   # doctest: +SKIP
[4.2, -1.3]
"""

from rerankers.auto import (
    AUTO_RERANKER_MAPPING,
    RERANKER_CLASS_MAPPING,
    FlagAutoReranker,
    RerankerConfig,
)
from rerankers.base import AbsReranker
from rerankers.describe import AdapterInfo, ModelInfo, describe_model
from rerankers.detection import RerankerModelClass
from rerankers.errors import (
    BadArgument,
    BadCheckpoint,
    BadPairs,
    BadScore,
    BadTrainingFile,
    BadVersion,
    DeviceDied,
    RerankerError,
)
from rerankers.families.decoder import FlagLLMReranker
from rerankers.families.encoder import FlagReranker
from rerankers.families.layered import LayerWiseFlagLLMReranker, LightWeightFlagLLMReranker
from rerankers.versions import VERSION_FILE, Version, Versions

__all__ = [
    "AUTO_RERANKER_MAPPING",
    "RERANKER_CLASS_MAPPING",
    "VERSION_FILE",
    "AbsReranker",
    "AdapterInfo",
    "BadArgument",
    "BadCheckpoint",
    "BadPairs",
    "BadScore",
    "BadTrainingFile",
    "BadVersion",
    "DeviceDied",
    "FlagAutoReranker",
    "FlagLLMReranker",
    "FlagReranker",
    "LayerWiseFlagLLMReranker",
    "LightWeightFlagLLMReranker",
    "ModelInfo",
    "RerankerConfig",
    "RerankerError",
    "RerankerModelClass",
    "Version",
    "Versions",
    "describe_model",
]

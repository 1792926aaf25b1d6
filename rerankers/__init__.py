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
    RerankerModelClass,
)
from rerankers.base import AbsReranker
from rerankers.errors import (
    BadArgument,
    BadCheckpoint,
    BadPairs,
    BadScore,
    BadTrainingFile,
    RerankerError,
    UnsupportedFamily,
)
from rerankers.families.encoder import FlagReranker

__all__ = [
    "AUTO_RERANKER_MAPPING",
    "RERANKER_CLASS_MAPPING",
    "AbsReranker",
    "BadArgument",
    "BadCheckpoint",
    "BadPairs",
    "BadScore",
    "BadTrainingFile",
    "FlagAutoReranker",
    "FlagReranker",
    "RerankerConfig",
    "RerankerError",
    "RerankerModelClass",
    "UnsupportedFamily",
]

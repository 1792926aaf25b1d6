"""What gateways and workers agree on: messages, and the names in Redis. No torch, no Flask, no Celery."""

from worker.contract.cache import CachedScores, read_score, write_score
from worker.contract.load import MARK_LIFE_S, Entry, Load, Serving, ServingModel
from worker.contract.messages import (
    MAX_PASSAGE_CHARS,
    MAX_PASSAGES,
    MAX_QUERY_CHARS,
    ContractError,
    ModelAlias,
    ScoreJob,
    ScoreReply,
    read_job_id,
)
from worker.contract.names import (
    BROKER_OPTIONS,
    CACHED_QUERIES_KEY,
    KEY_PREFIX,
    RUNNING_KEY,
    SCORE_TASK,
    SUSPECTS_KEY,
    bulk_queue,
    cancelled_key,
    load_key,
    online_queue,
    reply_key,
    serving_key,
)

__all__ = [
    "BROKER_OPTIONS",
    "CACHED_QUERIES_KEY",
    "KEY_PREFIX",
    "MARK_LIFE_S",
    "MAX_PASSAGES",
    "MAX_PASSAGE_CHARS",
    "MAX_QUERY_CHARS",
    "RUNNING_KEY",
    "SCORE_TASK",
    "SUSPECTS_KEY",
    "CachedScores",
    "ContractError",
    "Entry",
    "Load",
    "ModelAlias",
    "ScoreJob",
    "ScoreReply",
    "Serving",
    "ServingModel",
    "bulk_queue",
    "cancelled_key",
    "load_key",
    "online_queue",
    "read_job_id",
    "read_score",
    "reply_key",
    "serving_key",
    "write_score",
]

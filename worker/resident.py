"""Knows the models that this process holds loaded: how each is loaded, its version, who is told."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from redis import Redis, RedisError

from rerankers import FlagAutoReranker
from worker.batching import Scorer
from worker.contract import serving_key
from worker.errors import ModelError
from worker.settings import ModelSettings

logger = logging.getLogger(__name__)

MARK_LIFE_MS = 5000
_MARK_RENEWAL_S = 1.5

_WARM_UP = [("warm up", "a passage"), ("warm up", "a longer passage " * 100)]
_MODEL_FILES = ("*.json", "*.safetensors", "*.bin", "*.model", "*.txt", "*.py")
_DESCRIPTIONS = ("config.json", "adapter_config.json")  # fetched for every model: their folder has the rest
# settings that say where and how fast, not what a score is
_NOT_IN_VERSION = {"path", "peft_path", "revision", "devices", "batch_size"}


@dataclass(frozen=True)
class ResidentModel:
    """A loaded and warm reranker."""

    alias: str
    scorer: Scorer
    version: str  # 16 hex digits; equal files and settings give equal versions on every machine


def load_model(alias: str, settings: ModelSettings) -> ResidentModel:
    """Load the model, score two pairs so that the first job finds it warm, and name its version.

    Raises:
        ModelError: it can't be loaded, or can't score.
    """
    options = settings.model_dump(exclude={"path"}, exclude_none=True)
    try:
        scorer = FlagAutoReranker.from_finetuned(settings.path, **options)
        scorer.compute_score(_WARM_UP)
        version = _name_version(settings)
    except Exception as error:
        logger.debug("model.failed model=%s", alias, exc_info=True)
        problem = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"models.{alias}: can't load {settings.path}: {problem}") from error
    return ResidentModel(alias, scorer, version)


def _name_version(settings: ModelSettings) -> str:
    """Hash what decides a score: the content of the model's and the adapter's files, and the settings.

    Reading the files again costs little: loading has just put them into the page cache.
    """
    digest = hashlib.sha256(settings.model_dump_json(exclude=_NOT_IN_VERSION).encode())
    for name, revision in ((settings.path, settings.revision), (settings.peft_path, None)):
        if name is None:
            continue
        folder = Path(name)
        if not folder.is_dir():
            folder = Path(
                snapshot_download(
                    name, revision=revision, local_files_only=True, allow_patterns=list(_DESCRIPTIONS)
                )
            )
        for file in sorted(file for pattern in _MODEL_FILES for file in folder.glob(pattern)):
            with file.open("rb") as content:
                digest.update(file.name.encode() + hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]


class ServingMark:
    """Tells gateways which models are served: keys in Redis that live only while this keeps renewing them.

    Each key's value is the model's version. Nothing is deleted at the end, since other workers may hold the
    same mark: it lapses `MARK_LIFE_MS` after the last renewal.
    """

    def __init__(self, redis: Redis, versions: Mapping[str, str]) -> None:
        self._redis = redis
        self._versions = versions
        self._stopped = threading.Event()

    @property
    def aliases(self) -> tuple[str, ...]:
        """The models that are marked."""
        return tuple(self._versions)

    def start(self) -> None:
        """Renew from now on, in a daemon thread; while Redis is away, keep trying."""
        self._stopped = threading.Event()
        threading.Thread(
            target=self._keep_renewing, args=(self._stopped,), name="serving-mark", daemon=True
        ).start()

    def stop(self) -> None:
        """Renew no more; may be called twice."""
        self._stopped.set()

    def _keep_renewing(self, stopped: threading.Event) -> None:
        was_renewed = True
        while not stopped.is_set():
            is_renewed = self._renew()
            if was_renewed and not is_renewed:
                logger.warning("mark.lost: Redis can't be reached")
            was_renewed = is_renewed
            stopped.wait(_MARK_RENEWAL_S)

    def _renew(self) -> bool:
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for alias, version in self._versions.items():
                    pipeline.set(serving_key(alias), version, px=MARK_LIFE_MS)
                pipeline.execute()
        except RedisError:
            return False
        return True

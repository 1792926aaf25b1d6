"""Knows the models that this process holds loaded: how each is loaded and warmed up, and its version."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download

from rerankers import VERSION_FILE, BadVersion, FlagAutoReranker, Version
from worker.batching import Scorer
from worker.contract.logs import Event
from worker.errors import ModelError
from worker.settings import ModelSettings

logger = logging.getLogger(__name__)

_CHARACTERS_PER_TOKEN = 20
"""More than any text has that is not made to have: what is behind that is not sent to the model."""

_WARM_UP = [("warm up", "a passage"), ("warm up", "a longer passage " * 100)]
_MODEL_FILES = ("*.json", "*.safetensors", "*.bin", "*.model", "*.txt", "*.py")
_DESCRIPTIONS = ("config.json", "adapter_config.json")  # fetched for every model: their folder has the rest
# settings that say where and how fast, not what a score is
_NOT_IN_VERSION = {"path", "versions", "pinned", "peft_path", "revision", "devices", "batch_size"}


@dataclass(frozen=True)
class ResidentModel:
    """A loaded and warm reranker."""

    alias: str
    scorer: Scorer
    version: str  # 16 hex digits; equal files and settings give equal versions on every machine
    max_characters: int  # of a text, behind which it reads nothing
    release: str = ""  # what people call this version, where it is of a folder of versions


def load_model(alias: str, settings: ModelSettings) -> ResidentModel:
    """Load the model, score two pairs so that the first job finds it warm, and name its version.

    Raises:
        ModelError: it can't be loaded, or can't score.
    """
    options = settings.model_dump(exclude={"path", "versions", "pinned"}, exclude_none=True)
    try:
        release = _check_release(Path(settings.path))
        scorer = FlagAutoReranker.from_finetuned(settings.path, **options)
        scorer.compute_score(_WARM_UP)
        version = _name_version(settings)
    except Exception as error:
        logger.debug(Event("model.failed", model=alias), exc_info=True)
        problem = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"models.{alias}: can't load {settings.path}: {problem}") from error
    return ResidentModel(alias, scorer, version, scorer.max_length * _CHARACTERS_PER_TOKEN, release)


def _check_release(folder: Path) -> str:
    """The name of the version that a folder holds, whose files are as added; empty if it is none."""
    release = Version.read(folder)
    if release is None:
        return ""
    if damage := release.find_damage(folder):
        raise BadVersion("; ".join(damage))
    return release.name


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
            if file.name == VERSION_FILE:
                continue
            with file.open("rb") as content:
                digest.update(file.name.encode() + hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]

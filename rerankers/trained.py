"""The constructor arguments that a model was fine-tuned with: beside its weights, taken when it is loaded."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rerankers.detection import read_json
from rerankers.hub import is_local

ARGUMENTS_FILE = "reranker.json"


def read_arguments(path: str) -> dict[str, Any]:
    """What is beside a model or an adapter in a folder; nothing where it was not fine-tuned here.

    Raises:
        BadCheckpoint: the file is damaged.
    """
    return (read_json(path, ARGUMENTS_FILE) or {}) if is_local(path) else {}


def write_arguments(folder: str, arguments: Mapping[str, Any]) -> None:
    """Say beside a model or an adapter how it is to be loaded, where that is not just as its family is."""
    file = Path(folder) / ARGUMENTS_FILE
    if arguments:
        file.write_text(json.dumps(dict(arguments), indent=2) + "\n", encoding="utf-8")
    else:
        file.unlink(missing_ok=True)

"""README.md beside the weights: what was trained, on what, how, and what came of it."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rerankers.finetune.arguments import Options

LIBRARIES = ("torch", "transformers", "peft", "accelerate", "tokenizers")
CARD_FILE = "README.md"


def write_card(
    folder: Path,
    options: Options,
    *,
    family: str,
    uses_adapter: bool,
    files: Mapping[str, Sequence[tuple[Path, int]]],
    history: Sequence[Mapping[str, float]],
    notes: Sequence[str],
) -> None:
    """Describe a trained model in its folder.

    Args:
        files: under ``train`` and ``eval`` the files and how many rows of each were used.
        history: what the trainer logged.
        notes: what whoever loads the model has to know.
    """
    model, _, _ = options
    kind = "An adapter (LoRA) for" if uses_adapter else "Fine-tuned from"
    parts = [
        "---\n"
        + f"base_model: {json.dumps(model.model_name_or_path)}\n"
        + f"library_name: {'peft' if uses_adapter else 'transformers'}\n"
        + "pipeline_tag: text-ranking\n---",
        f"# {folder.name}\n\n{kind} `{model.model_name_or_path}`, a reranker of the family {family}.",
        *notes,
        "## Data\n\n" + _make_table(("split", "file", "rows", "sha256"), list(_list_files(files))),
        "## Figures\n\n" + _make_table(("step", "epoch", "figure", "value"), _list_figures(history)),
        "## Arguments\n\nThose that are not the defaults.\n\n"
        + _make_table(("argument", "value"), list(_list_arguments(options))),
        "## Versions\n\n"
        + _make_table(
            ("library", "version"),
            [("python", platform.python_version()), *((name, version(name)) for name in LIBRARIES)],
        ),
    ]
    (folder / CARD_FILE).write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def hash_file(file: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _list_files(files: Mapping[str, Sequence[tuple[Path, int]]]) -> Any:
    for split, found in files.items():
        for file, n_rows in found:
            yield split, f"`{file.name}`", n_rows, f"`{hash_file(file)}`"


def _list_figures(history: Sequence[Mapping[str, float]]) -> list[tuple[object, ...]]:
    """The first and the last loss, and every evaluation."""
    losses = [line for line in history if "loss" in line]
    shown = [(line, "loss") for line in [*losses[:1], *losses[1:][-1:]]]
    shown += [(line, "train_loss") for line in history if "train_loss" in line]
    shown += [(line, name) for line in history for name in line if name.startswith("eval_")]
    return [(line["step"], f"{line.get('epoch', 0):.2f}", name, f"{line[name]:.4f}") for line, name in shown]


def _list_arguments(options: Options) -> Any:
    for group in options:
        for option in fields(group):
            value = getattr(group, option.name)
            if option.init and value != option.default and value not in (None, {}, []):
                yield f"`{option.name}`", f"`{value}`".replace("|", "\\|").replace("\n", " ")


def _make_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)

"""What tensors the files of a checkpoint hold, by their headers: names, shapes and precisions, no numbers."""

import json
from pathlib import Path

import torch
from safetensors import safe_open

SINGLE_FILES = ("model.safetensors", "pytorch_model.bin")
"""The names that weights are saved under, in the order in which they are looked for."""


def find_weight_files(folder: str | Path) -> list[Path]:
    """The files that hold a checkpoint's weights: one, or those that its index lists.

    Raises:
        FileNotFoundError: there are none, or one of the index is missing.
    """
    for name in SINGLE_FILES:
        index = Path(folder) / f"{name}.index.json"
        names = [name]
        if index.is_file():
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [Path(folder) / name for name in names]
        if index.is_file() or files[0].is_file():
            missing = [file.name for file in files if not file.is_file()]
            if missing:
                raise FileNotFoundError(f"no file named {missing[0]}")
            return files
    raise FileNotFoundError(f"no file named {' or '.join(SINGLE_FILES)}")


def read_headers(folder: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name, each without its numbers (on the device ``meta``).

    Raises:
        FileNotFoundError, SafetensorError, RuntimeError: there are no weights, or they are damaged.
    """
    tensors: dict[str, torch.Tensor] = {}
    for file in find_weight_files(folder):
        tensors |= _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickle(file)
    return tensors


def _read_safetensors(file: Path) -> dict[str, torch.Tensor]:
    # a tensor is a view of the mapped file: going to meta reads none of it
    with safe_open(file, "pt") as opened:
        return {name: opened.get_tensor(name).to("meta") for name in opened.keys()}  # noqa: SIM118


def _read_pickle(file: Path) -> dict[str, torch.Tensor]:
    loaded = torch.load(file, map_location="meta", mmap=True, weights_only=True)
    return {name: tensor for name, tensor in loaded.items() if isinstance(tensor, torch.Tensor)}

"""``python -m rerankers merge``: adapters become part of the model that they were made for."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from rerankers.auto import choose_config, find_base
from rerankers.commands.options import make_parser
from rerankers.detection import RerankerModelClass
from rerankers.errors import BadArgument
from rerankers.finetune.students import STUDENTS, Student, Wishes
from rerankers.hub import HubAccess
from rerankers.loading import ADAPTER_PREFIX, load_adapter, read_adapter, refuse_unfilled
from rerankers.sequences import Limits
from rerankers.trained import read_arguments, write_arguments

EXAMPLE = """\
examples:
  python -m rerankers merge adapter/ --output_dir whole/                      # the adapter names its base
  python -m rerankers merge base/ --peft_path first/ second/ --output_dir whole/"""
DTYPES = ("float32", "bfloat16", "float16")


def main(arguments: list[str] | None = None, prog: str = "python -m rerankers merge") -> None:
    """Merge what a command line names; see ``--help``."""
    given = _build_parser(prog).parse_args(arguments)
    folder = Path(given.output_dir)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadArgument(f"--output_dir: {folder} is not an empty folder")
    access = HubAccess(bool(given.trust_remote_code), given.cache_dir)
    path, adapter_paths = given.model.rstrip("/"), given.peft_path or []
    if not adapter_paths:
        base = find_base(path, access)
        if base is None:
            raise BadArgument(f"--peft_path: {path} is a whole model; name the adapters to merge into it")
        path, adapter_paths = base, [path]
    family = choose_config(path, given.model_class, access).model_class
    student = STUDENTS[family](path, path, access, Wishes(Limits(1, 1, 1)))
    merge_adapters(student, adapter_paths, folder, getattr(torch, given.dtype))
    print(f"{folder}: a whole model of the family {family.value}")


def merge_adapters(
    student: Student, adapter_paths: Sequence[str], folder: Path, dtype: torch.dtype = torch.float32
) -> None:
    """Write the model with these adapters merged into it, in their order, each in full precision.

    Raises:
        BadCheckpoint: the model can't be loaded, or an adapter is not for it.
    """
    model, unfilled = student.load()
    brought = {name.removeprefix(ADAPTER_PREFIX) for path in adapter_paths for name in read_adapter(path)}
    refuse_unfilled(student.path, unfilled, brought)
    for path in adapter_paths:
        model = load_adapter(model, path).merge_and_unload()
    student.save(model.to(dtype), str(folder))
    write_arguments(str(folder), read_arguments(student.path) | read_arguments(adapter_paths[-1]))


def _build_parser(prog: str) -> argparse.ArgumentParser:
    parser = make_parser(
        prog, "Write a model with its adapters merged into it, as a folder that scores the same.", EXAMPLE
    )
    add = parser.add_argument
    add("model", help="folder or hub name of a model, or folder of an adapter that names its base")
    add("--peft_path", nargs="+", help="folders of adapters for the model, merged in this order")
    add("--output_dir", required=True, help="folder to write to: an empty or a new one")
    add("--dtype", choices=DTYPES, default=DTYPES[0], help="precision to save in (default: %(default)s)")
    families = [family.value for family in RerankerModelClass]
    add("--model_class", choices=families, help="the model's family, where its name and files don't tell it")
    add("--cache_dir", help="where files from the hub are kept")
    add("--trust_remote_code", action="store_true", help="run code that the model brings along")
    return parser

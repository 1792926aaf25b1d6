"""``python -m rerankers info``: what would be loaded for a model, told without reading its weights."""

import argparse
import dataclasses
import json

from transformers.utils.logging import disable_progress_bar

from rerankers.commands.options import build_parser
from rerankers.describe import AdapterInfo, ModelInfo, describe_model

EXAMPLE = """\
examples:
  python -m rerankers info model/
  python -m rerankers info base/ --peft_path adapter/ --use_bf16 --json"""


def main(arguments: list[str] | None = None, prog: str = "python -m rerankers info") -> None:
    """Describe the model that a command line names; see ``--help``."""
    given = _build_parser(prog).parse_args(arguments)
    disable_progress_bar()  # type: ignore[no-untyped-call]  # it would say that weights are loaded
    info = describe_model(
        given.model,
        given.model_class,
        given.use_fp16,
        bool(given.use_bf16),
        peft_path=given.peft_path,
        devices=given.device,
        trust_remote_code=given.trust_remote_code,
        cache_dir=given.cache_dir,
        revision=given.revision,
    )
    print(json.dumps(dataclasses.asdict(info), indent=2) if given.json else write_lines(info))


def write_lines(info: ModelInfo) -> str:
    """One ``name  value`` a line, the values below each other."""
    rows = {
        "model": info.model,
        "adapter": "none" if info.adapter is None else _write_adapter(info.adapter),
        "family": f"{info.family} ({info.told_by})",
        "class": info.class_name,
        "layers": f"{info.layers}, scored: {_write_scored(info)}",
        "hidden size": f"{info.hidden_size:,}",
        "vocabulary": f"{info.vocab_size:,}",
        "longest sequence": "not told" if info.max_positions is None else f"{info.max_positions:,} tokens",
        "parameters": f"{info.parameters:,}",
        "weights": f"{_write_bytes(info.weight_bytes)} in memory as {info.dtype}; {_write_files(info)}",
        "tokenizer": info.tokenizer,
        "device": info.device,
    }
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def _write_scored(info: ModelInfo) -> str:
    return "the last" if info.scored_layers is None else ", ".join(map(str, info.scored_layers))


def _write_adapter(adapter: AdapterInfo) -> str:
    rank = "" if adapter.rank is None else f" of rank {adapter.rank}"
    targets = ", ".join(adapter.target_modules) or "its default modules"
    return f"{adapter.path} ({adapter.kind}{rank} on {targets}; task {adapter.task_type})"


def _write_files(info: ModelInfo) -> str:
    if info.file_bytes is None:
        return "files not looked at"
    return f"files: {_write_bytes(info.file_bytes)}, {', '.join(info.file_dtypes)}"


def _write_bytes(n_bytes: int) -> str:
    size, unit = float(n_bytes), "B"
    for larger in ("kB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"


def _build_parser(prog: str) -> argparse.ArgumentParser:
    parser = build_parser(
        prog, "Tell what would be loaded for a model, without reading its weights.", EXAMPLE
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser

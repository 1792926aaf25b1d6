"""The options by which every command names a model and how it is loaded; knows no command."""

import argparse

from rerankers.auto import FlagAutoReranker
from rerankers.base import AbsReranker
from rerankers.detection import RerankerModelClass
from rerankers.errors import BadArgument

MODEL_OPTIONS = ("model_class", "use_fp16", "trust_remote_code", "cache_dir", "revision")
"""Those that every family takes."""
TEXT_OPTIONS = {
    "query_instruction_for_rerank": "put before every query",
    "query_instruction_format": "joins that and the query, for example {}{}",
    "passage_instruction_for_rerank": "put before every passage",
    "passage_instruction_format": "joins that and the passage",
    "separator": "decoder-only models: between query, passage and prompt",
    "prompt": "language models: the question that follows query and passage",
}
"""Texts that become part of what a model reads."""
GIVEN_OPTIONS = (
    *TEXT_OPTIONS,
    "peft_path",
    "use_bf16",
    "attn_implementation",
    "answers",
    "cutoff_layers",
    "compress_layers",
    "compress_ratio",
)
"""Those with a family's own default, or that not every family takes: handed on only where they are given."""
CALL_OPTIONS = ("batch_size", "query_max_length", "passage_max_length", "max_length", "normalize")
"""Those that a call of ``compute_score`` goes by."""


def make_parser(prog: str, description: str, example: str) -> argparse.ArgumentParser:
    """A command's parser, without options."""
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def build_parser(prog: str, description: str, example: str) -> argparse.ArgumentParser:
    """A command's parser, with the options that say which model, and how it is loaded."""
    parser = make_parser(prog, description, example)
    add = parser.add_argument
    add("model", help="folder or hub name of a reranker, or of an adapter that names its base model")
    add("--peft_path", help="folder of an adapter for the model")
    add_load_options(parser)
    return parser


def add_load_options(parser: argparse.ArgumentParser) -> None:
    """How a model is loaded, whichever it is."""
    families = [family.value for family in RerankerModelClass]
    add = parser.add_argument
    add("--model_class", choices=families, help="the model's family, where its name and files don't tell it")
    add("--device", help="cpu, cuda:0, mps (default: all GPUs, else the CPU)")
    add("--use_fp16", action="store_true", help="half precision on a GPU")
    add("--use_bf16", action="store_true", default=None, help="half precision with the range of fp32")
    add("--cache_dir", help="where files from the hub are kept")
    add("--revision", help="branch, tag or commit on the hub")
    add("--trust_remote_code", action="store_true", default=None, help="run code that the model brings along")


def add_call_options(parser: argparse.ArgumentParser) -> None:
    """How pairs are scored."""
    add = parser.add_argument
    add("--normalize", action="store_true", help="give probabilities (0 to 1) instead of logits")
    add("--max_length", type=int, default=512, help="tokens of a pair (default: %(default)s)")
    add("--query_max_length", type=int, help="tokens of a query (default: three quarters of max_length)")
    add("--passage_max_length", type=int, help="tokens of a passage (default: what the pair has room for)")
    add("--batch_size", type=int, default=128, help="most pairs in a forward pass (default: %(default)s)")
    add(
        "--attn_implementation",
        help="transformers' attention, such as flash_attention_2 (default: its choice)",
    )
    for name, text in TEXT_OPTIONS.items():
        add(f"--{name}", help=text)
    add(
        "--answers",
        nargs="+",
        help="decoder-only models: the word that scores, and one that counts against it",
    )
    add("--cutoff_layers", type=int, nargs="+", help="layered models: the layers to score at")
    add("--compress_layers", type=int, nargs="+", help="lightweight models: the layers to compress before")
    add("--compress_ratio", type=int, help="lightweight models: tokens that become one")


def load_reranker(given: argparse.Namespace) -> AbsReranker:
    """Load the reranker that a command line with all these options names.

    Raises:
        BadArgument: an option is not for the model's family.
    """
    options = {name: getattr(given, name) for name in (*MODEL_OPTIONS, *CALL_OPTIONS)}
    options |= {name: value for name in GIVEN_OPTIONS if (value := getattr(given, name)) is not None}
    try:
        return FlagAutoReranker.from_finetuned(given.model, devices=given.device, **options)
    except TypeError as error:
        raise BadArgument(f"{given.model}: {error}") from error

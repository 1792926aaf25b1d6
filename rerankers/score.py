"""``python -m rerankers score``: pairs as JSON lines in, a line with the score out; one a layer, by tabs."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

from rerankers.auto import FlagAutoReranker
from rerankers.detection import RerankerModelClass
from rerankers.errors import BadArgument, BadPairs
from rerankers.sequences import Pair

FAMILY_OPTIONS = ("peft_path", "use_bf16", "prompt", "cutoff_layers", "compress_layers", "compress_ratio")
"""Those that not every family takes: handed on only where they are given."""

EXAMPLE = """\
examples:
  echo '{"query": "delete a folder", "passage": "shutil.rmtree deletes a directory tree"}' \\
      | python -m rerankers score model/
  python -m rerankers score base/ --peft_path adapter/ --normalize --input pairs.jsonl"""


def main(arguments: list[str] | None = None, prog: str = "python -m rerankers score") -> None:
    """Score the pairs of a file or of standard input as a command line says; see ``--help``."""
    given = _build_parser(prog).parse_args(arguments)
    with _open_input(given.input) as lines:
        pairs = read_pairs(lines, given.input)
    of_family = {name: value for name in FAMILY_OPTIONS if (value := getattr(given, name)) is not None}
    try:
        reranker = FlagAutoReranker.from_finetuned(
            given.model,
            model_class=given.model_class,
            use_fp16=given.use_fp16,
            trust_remote_code=given.trust_remote_code,
            devices=given.device,
            batch_size=given.batch_size,
            query_max_length=given.query_max_length,
            max_length=given.max_length,
            normalize=given.normalize,
            **of_family,
        )
    except TypeError as error:  # an option that this model's family does not take
        raise BadArgument(f"{given.model}: {error}") from error
    for scores in by_pair(reranker.compute_score(pairs)):
        print(*scores, sep="\t")


def by_pair(scores: Sequence[float] | Sequence[Sequence[float]]) -> Iterable[tuple[float, ...]]:
    """For each pair its scores, lowest layer first; one where a single layer was asked for."""
    by_layer = scores if scores and isinstance(scores[0], Sequence) else [scores]
    return zip(*by_layer, strict=True)


def read_pairs(lines: Iterable[str], name: str) -> list[Pair]:
    """Read one ``{"query": …, "passage": …}`` a line, empty lines left out.

    Raises:
        BadPairs: a line is not such an object; the message names it.
    """
    pairs = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            pair = fields["query"], fields["passage"]
        except (ValueError, TypeError, KeyError) as error:
            raise BadPairs(
                f'{name}:{number}: expected {{"query": text, "passage": text}} ({error})'
            ) from error
        pairs.append(pair)
    return pairs


def _open_input(path: str) -> AbstractContextManager[Iterable[str]]:
    if path == "-":
        return nullcontext(sys.stdin)
    try:
        return open(path, encoding="utf-8")
    except OSError as error:
        raise BadArgument(f"--input: {error}") from error


def _build_parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description='Read {"query": text, "passage": text} a line, print one score a line, in order.',
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    families = [family.value for family in RerankerModelClass]
    add = parser.add_argument
    add("model", help="folder or hub name of a reranker, or folder of an adapter that names its base model")
    add("--input", default="-", help="file of pairs (default: standard input)")
    add("--peft_path", help="folder of an adapter for the model")
    add("--model_class", choices=families, help="the model's family, where its name and files don't tell it")
    add("--normalize", action="store_true", help="print probabilities (0 to 1) instead of logits")
    add("--max_length", type=int, default=512, help="tokens of a pair (default: %(default)s)")
    add("--query_max_length", type=int, help="tokens of a query (default: three quarters of max_length)")
    add("--batch_size", type=int, default=128, help="most pairs in a forward pass (default: %(default)s)")
    add("--device", help="cpu, cuda:0, mps (default: the first GPU, else the CPU)")
    add("--use_fp16", action="store_true", help="half precision on a GPU")
    add("--use_bf16", action="store_true", default=None, help="half precision with the range of fp32")
    add("--prompt", help="language models: the question that follows query and passage")
    add("--cutoff_layers", type=int, nargs="+", help="layered models: the layers to score at")
    add("--compress_layers", type=int, nargs="+", help="lightweight models: the layers to compress before")
    add("--compress_ratio", type=int, help="lightweight models: tokens that become one")
    add("--trust_remote_code", action="store_true", default=None, help="run code that the model brings along")
    return parser

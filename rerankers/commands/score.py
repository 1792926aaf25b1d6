"""``python -m rerankers score``: pairs as JSON lines in, a line with the score out; one a layer, by tabs."""

import argparse
import sys
from collections.abc import Iterable, Sequence

from tqdm import tqdm

from rerankers.base import AbsReranker
from rerankers.commands.options import add_call_options, build_parser, load_reranker
from rerankers.commands.pair_lines import Chunk, count_pairs, open_pairs, read_chunks
from rerankers.errors import BadArgument, BadScore

CHUNK_PAIRS = {"cpu": 256}
OTHER_CHUNK_PAIRS = 4096
"""Pairs that are read, scored and printed before the next, by type of device: enough to fill its batches with
pairs of like length, few enough to see progress."""

EXAMPLE = """\
examples:
  echo '{"query": "delete a folder", "passage": "shutil.rmtree deletes a directory tree"}' \\
      | python -m rerankers score model/
  python -m rerankers score base/ --peft_path adapter/ --normalize --input pairs.jsonl"""


def main(arguments: list[str] | None = None, prog: str = "python -m rerankers score") -> None:
    """Score the pairs of a file or of standard input as a command line says; see ``--help``."""
    given = _build_parser(prog).parse_args(arguments)
    if given.chunk_size is not None and given.chunk_size < 1:
        raise BadArgument(f"--chunk_size: expected a whole number of at least 1, found {given.chunk_size}")
    with open_pairs(given.input, "--input") as lines:
        reranker = load_reranker(given)
        size = given.chunk_size or CHUNK_PAIRS.get(reranker.device.type, OTHER_CHUNK_PAIRS)
        bar = tqdm(unit=" pairs", total=count_pairs(given.input), disable=True if given.quiet else None)
        with bar:
            for chunk in read_chunks(lines, given.input, size):
                _print_scores(reranker, chunk, given.input)
                bar.update(len(chunk.pairs))


def _print_scores(reranker: AbsReranker, chunk: Chunk, name: str) -> None:
    try:
        scores = reranker.compute_score(chunk.pairs)
    except BadScore as error:  # counts pairs from the first of the chunk
        raise BadScore(f"{name}: of the pairs from line {chunk.first_line} on, {error}") from error
    for by_layer in by_pair(scores):
        tqdm.write("\t".join(map(str, by_layer)), file=sys.stdout)  # above the bar
    sys.stdout.flush()


def by_pair(scores: Sequence[float] | Sequence[Sequence[float]]) -> Iterable[tuple[float, ...]]:
    """For each pair its scores, lowest layer first; one where a single layer was asked for."""
    by_layer = scores if scores and isinstance(scores[0], Sequence) else [scores]
    return zip(*by_layer, strict=True)


def _build_parser(prog: str) -> argparse.ArgumentParser:
    parser = build_parser(
        prog, 'Read {"query": text, "passage": text} a line, print one score a line, in order.', EXAMPLE
    )
    add_call_options(parser)
    add = parser.add_argument
    add("--input", default="-", help="file of pairs (default: standard input)")
    add(
        "--chunk_size",
        type=int,
        help="pairs scored and printed at a time (default: 256 on a CPU, else 4096)",
    )
    add("--quiet", action="store_true", help="no progress bar; there is none anyway where nobody sees it")
    return parser

"""``python -m rerankers bench``: how fast a model scores on this machine, against the machine's peak."""

import argparse
import dataclasses
import json
import random
import re
from typing import Any

from rerankers.commands.options import add_call_options, build_parser, load_reranker
from rerankers.commands.pair_lines import open_pairs, read_chunks
from rerankers.commands.speed import Speed, measure_speed
from rerankers.errors import BadArgument, BadPairs
from rerankers.sequences import Pair, tokenize

QUERY_WORDS = 8
LONGEST_WORD_LIST = 5000
SEED = 1
DERIVED = (
    "best_pairs_per_s",
    "median_pairs_per_s",
    "best_tokens_per_s",
    "median_tokens_per_s",
    "s_per_100_pairs",
    "share_of_peak",
)
"""What ``--json`` tells beside the fields of `Speed`."""

EXAMPLE = """\
examples:
  python -m rerankers bench model/
  python -m rerankers bench model/ --pairs pairs.jsonl --rounds 5 --json"""


def main(arguments: list[str] | None = None, prog: str = "python -m rerankers bench") -> None:
    """Measure the model that a command line names; see ``--help``."""
    given = _build_parser(prog).parse_args(arguments)
    for name in ("passages", "rounds"):
        if getattr(given, name) < 1:
            raise BadArgument(
                f"--{name}: expected a whole number of at least 1, found {getattr(given, name)}"
            )
    lengths = read_lengths(given.tokens)
    pairs = None if given.pairs is None else read_all(given.pairs)
    reranker = load_reranker(given)
    if pairs is None:
        pairs = make_pairs(reranker.tokenizer, given.passages, lengths)
    speed = measure_speed(reranker, pairs, given.rounds)
    if given.json:
        derived = {name: getattr(speed, name) for name in DERIVED}
        print(json.dumps({"model": given.model} | dataclasses.asdict(speed) | derived, indent=2))
    else:
        print(write_lines(given.model, speed))


def read_all(path: str) -> list[Pair]:
    """All pairs of a file.

    Raises:
        BadArgument: it can't be opened.
        BadPairs: a line is no pair, or there are none.
    """
    with open_pairs(path, "--pairs") as lines:
        pairs = [pair for chunk in read_chunks(lines, path, size=1) for pair in chunk.pairs]
    if not pairs:
        raise BadPairs(f"{path}: holds no pairs")
    return pairs


def read_lengths(text: str) -> tuple[int, int]:
    """The shortest and the longest passage, of ``30-400``, or ``30`` for both."""
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    shortest, longest = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= shortest <= longest:
        raise BadArgument(f"--tokens: expected for example 30-400, found {text!r}")
    return shortest, longest


def make_pairs(tokenizer: Any, n_passages: int, lengths: tuple[int, int]) -> list[Pair]:
    """One query and passages of random words of the tokenizer's vocabulary, the same at each call.

    A word is a token or somewhat more, since tokenizers write a word differently behind a blank.

    Args:
        lengths: words of the shortest and of the longest passage; those between are equally frequent.

    Raises:
        BadArgument: the vocabulary has no words.
    """
    words = _find_words(tokenizer)
    chosen = random.Random(SEED)
    query = " ".join(chosen.choices(words, k=QUERY_WORDS))
    return [(query, " ".join(chosen.choices(words, k=chosen.randint(*lengths)))) for _ in range(n_passages)]


def _find_words(tokenizer: Any) -> list[str]:
    special = set(tokenizer.all_special_ids)
    ids = sorted(set(tokenizer.get_vocab().values()) - special)
    step = max(1, len(ids) // LONGEST_WORD_LIST)
    texts = {tokenizer.decode([token]).strip() for token in ids[::step]}
    tokens = tokenize(tokenizer, sorted(text for text in texts if text.isalpha()))
    words = [text for text, found in tokens.items() if len(found) == 1]
    if not words:
        raise BadArgument(
            "--pairs: is needed, since the tokenizer's vocabulary holds no words to make pairs of"
        )
    return words


def write_lines(model: str, speed: Speed) -> str:
    """One ``name  value`` a line, the values below each other."""
    rows = {
        "model": f"{model} ({speed.class_name}, {speed.dtype} on {speed.device})",
        "machine": speed.machine,
        "pairs": f"{speed.pairs}, {speed.tokens:,} tokens without padding, {speed.rounds} rounds",
        "speed, best": f"{speed.best_pairs_per_s:.1f} pairs/s, {speed.best_tokens_per_s:,.0f} tokens/s",
        "speed, median": f"{speed.median_pairs_per_s:.1f} pairs/s, {speed.median_tokens_per_s:,.0f} tokens/s",
        "100 passages": f"{speed.s_per_100_pairs:.3g} s for one query (median)",
        "operations": f"{_giga(speed.flops)}FLOP a round, at best {_giga(speed.best_flops_per_s)}FLOP/s",
        "matmul peak": f"{_giga(speed.peak_flops_per_s)}FLOP/s measured between the rounds",
        "share of peak": f"{speed.share_of_peak:.0%}",
        "memory": f"{speed.peak_memory_bytes / 1e6:,.0f} MB resident at most, this program with all of it",
    }
    if speed.peak_device_bytes is not None:
        rows["GPU memory"] = f"{speed.peak_device_bytes / 1e6:,.0f} MB allocated at most"
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def _giga(number: float) -> str:
    return f"{number / 1e9:,.3g} G"


def _build_parser(prog: str) -> argparse.ArgumentParser:
    parser = build_parser(
        prog, "Score the same pairs several times and tell how fast that was on this machine.", EXAMPLE
    )
    add_call_options(parser)
    add = parser.add_argument
    add("--pairs", help='file of {"query": text, "passage": text} a line (default: random words)')
    add("--passages", type=int, default=100, help="random passages for one query (default: %(default)s)")
    add("--tokens", default="30-400", help="words of the random passages (default: %(default)s)")
    add("--rounds", type=int, default=3, help="times that all pairs are scored (default: %(default)s)")
    add("--json", action="store_true", help="print one JSON object")
    return parser

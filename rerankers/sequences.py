"""How a pair of texts becomes the ids of one sequence, and sequences become one padded batch; knows no model.

Query and passage are tokenised apart, cut on ids, and joined by the special tokens that the tokenizer puts
around a pair. The tokenizer's own truncation is never used: it is a state that threads would share.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from rerankers.errors import BadCheckpoint

Pair = tuple[str, str]
Row = dict[str, list[int]]
"""The columns of one sequence: ``input_ids``, and what else its family reads, a number a token."""
Batch = dict[str, torch.Tensor]

CHARACTERS_PER_TOKEN = 8
"""How much of a long text is read at first for each token wanted; most texts have fewer."""
MARGIN = 32
"""Tokens at a cut that may not be those of the whole text; more are read so that these fall off."""


@dataclass(frozen=True)
class Limits:
    """How many tokens a query, a passage and the whole sequence with its special tokens may have."""

    query: int
    passage: int
    total: int


class PairEncoder:
    """Turns pairs into rows for one tokenizer; safe to share between threads.

    Args:
        tokenizer: a fast tokenizer; its truncation and padding are switched off here.
        max_positions: the longest sequence that the model can read; None when nothing bounds it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_positions: int | None = None) -> None:
        if not tokenizer.is_fast:
            raise BadCheckpoint(f"{tokenizer.name_or_path}: needs a fast tokenizer (tokenizer.json)")
        self._tokenizer = tokenizer
        self._max_positions = max_positions
        self._template = _read_template(tokenizer)  # also switches truncation and padding off

    def encode(self, pairs: Sequence[Pair], limits: Limits) -> list[Row]:
        """Encode P pairs, in order.

        Too long a sequence loses the end of its passage. When the query leaves the passage no room, nothing
        is cut, as published rerankers were run, unless the model can't read so long a sequence: then both are
        brought down to ``limits.total``, the query to three quarters of its room.
        """
        queries = tokenize(self._tokenizer, {query for query, _ in pairs}, limits.query)
        passages = tokenize(self._tokenizer, {passage for _, passage in pairs}, limits.passage)
        return [self._template.join(*self._cut(queries[q], passages[p], limits.total)) for q, p in pairs]

    def _cut(self, query: list[int], passage: list[int], max_length: int) -> tuple[list[int], list[int]]:
        max_length = min(max_length, self._max_positions or max_length)
        room = max(0, max_length - self._template.n_special)
        surplus = len(query) + len(passage) - room
        if surplus <= 0:
            return query, passage
        if surplus < len(passage):
            return query, passage[: len(passage) - surplus]
        n_tokens = len(query) + len(passage) + self._template.n_special
        if self._max_positions is None or n_tokens <= self._max_positions:
            return query, passage
        query = query[: room * 3 // 4]
        return query, passage[: room - len(query)]


def tokenize(
    tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], max_tokens: int | None = None
) -> dict[str, list[int]]:
    """The ids of each text, without special tokens around it, and at most ``max_tokens`` of them.

    Of a text that is much longer than that only the beginning is read, as long as that gives enough tokens.
    """
    if max_tokens is None:
        return _tokenize_whole(tokenizer, texts)
    heads = {text: _cut_head(text, (max_tokens + MARGIN) * CHARACTERS_PER_TOKEN) for text in texts}
    of_head = _tokenize_whole(tokenizer, heads.values())
    ids = {text: of_head[head] for text, head in heads.items()}
    too_short = [
        text for text, head in heads.items() if head != text and len(ids[text]) < max_tokens + MARGIN
    ]
    ids |= _tokenize_whole(tokenizer, too_short)
    return {text: ids[text][:max_tokens] for text in heads}


def _cut_head(text: str, max_characters: int) -> str:
    """The first words of a text that has more characters."""
    if len(text) <= max_characters:
        return text
    end = max(text.rfind(sign, 0, max_characters) for sign in " \n")
    return text[:end] if end > 0 else text


def _tokenize_whole(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> dict[str, list[int]]:
    texts = list(texts)
    if not texts:
        return {}
    encoded = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
    return dict(zip(texts, encoded["input_ids"], strict=True))


@dataclass(frozen=True)
class _Template:
    """The special tokens around a pair, and the segment number of every part (None: the model reads none)."""

    before: list[int]
    between: list[int]
    after: list[int]
    segments: tuple[int, int, int, int, int] | None

    @property
    def n_special(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)

    def join(self, query: list[int], passage: list[int]) -> Row:
        parts = (self.before, query, self.between, passage, self.after)
        row = {"input_ids": [token for part in parts for token in part]}
        if self.segments is not None:
            row["token_type_ids"] = [
                segment for part, segment in zip(parts, self.segments, strict=True) for _ in part
            ]
        return row


def _read_template(tokenizer: PreTrainedTokenizerBase) -> _Template:
    """Encode a small pair and see what the tokenizer put around and between its two texts."""
    encoded = tokenizer("a", "b", truncation=False, padding=False)
    ids, owners = encoded["input_ids"], encoded.sequence_ids(0)  # owner: 0 query, 1 passage, None special
    query, passage = (_span(owners, owner) for owner in (0, 1))
    segments = None
    if "token_type_ids" in encoded:
        kinds = encoded["token_type_ids"]
        segments = (kinds[0], kinds[query.start], kinds[query.stop], kinds[passage.start], kinds[-1])
    return _Template(ids[: query.start], ids[query.stop : passage.start], ids[passage.stop :], segments)


def _span(owners: Sequence[int | None], owner: int) -> slice:
    start = owners.index(owner)
    return slice(start, start + owners.count(owner))


def pad_rows(
    rows: Sequence[Row], pad_token_id: int, padding_side: str = "right", multiple_of: int = 1
) -> Batch:
    """Put B rows into tensors (B, T) and add the ``attention_mask``: 1 token, 0 padding.

    T is the longest row's length, or the next multiple.
    """
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    columns["attention_mask"] = [[1] * len(row["input_ids"]) for row in rows]
    missing = -max(len(row["input_ids"]) for row in rows) % multiple_of
    batch = {}
    for name, numbers in columns.items():
        filling = pad_token_id if name == "input_ids" else 0
        padded = _pad(numbers, filling, padding_side)
        sides = (missing, 0) if padding_side == "left" else (0, missing)
        batch[name] = pad(padded, sides, value=filling) if missing else padded
    return batch


def pack_rows(rows: Sequence[Row]) -> Batch:
    """Lay B rows end to end in tensors (N,), N the sum of their ``lengths`` (B,)."""
    batch = {name: torch.tensor([number for row in rows for number in row[name]]) for name in rows[0]}
    batch["lengths"] = torch.tensor([len(row["input_ids"]) for row in rows])
    return batch


def _pad(columns: Iterable[list[int]], value: int, side: str) -> torch.Tensor:
    return pad_sequence(
        [torch.tensor(column) for column in columns], batch_first=True, padding_value=value, padding_side=side
    )


def count_fitting(longest_tokens: int, token_budget: int, batch_size: int) -> int:
    """How many rows of at most this length make a batch: at least one, else within budget and size."""
    return max(1, min(batch_size, token_budget // longest_tokens))


def split_rows(rows: Sequence[Row], token_budget: int, batch_size: int) -> list[Sequence[Row]]:
    """Cut rows, the longest first, into batches that each are within budget and size."""
    batches = []
    start = 0
    while start < len(rows):
        end = start + count_fitting(len(rows[start]["input_ids"]), token_budget, batch_size)
        batches.append(rows[start:end])
        start = end
    return batches

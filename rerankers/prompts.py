"""How a pair becomes the ids that a language model reads: query, passage and a question about them."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from rerankers.sequences import Limits, Pair, Row, tokenize

SEPARATOR = "\n"
QUERY, PASSAGE, PROMPT = range(3)
"""The column ``parts``: which of the three a token belongs to, a separator to the query or the prompt."""


class PromptEncoder:
    """Turns pairs into rows for one tokenizer: ``<bos> query \\n passage \\n prompt``; threads may share it.

    Args:
        tokenizer: one that cuts and pads nothing by itself.
        needs_bos: put the beginning-of-sequence token first even if it is also the padding.
        separator: what stands between the three.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, needs_bos: bool, separator: str = SEPARATOR
    ) -> None:
        self._tokenizer = tokenizer
        bos = tokenizer.bos_token_id
        self._before = [bos] if bos is not None and (needs_bos or bos != tokenizer.pad_token_id) else []
        self._separator = self._tokenize_one(separator)

    def encode(
        self, pairs: Sequence[Pair], limits: Limits, prompt: str, counts_prompt: bool = False
    ) -> list[Row]:
        """Encode P pairs, in order.

        Query and passage have at most ``limits.total`` tokens together: too long a passage loses its end. The
        prompt comes on top of that and is never cut.

        Args:
            counts_prompt: ``limits.total`` is the whole sequence's, as published models were trained.
        """
        queries = tokenize(self._tokenizer, {query for query, _ in pairs}, limits.query)
        passages = tokenize(self._tokenizer, {passage for _, passage in pairs}, limits.passage)
        asked = self._separator + self._tokenize_one(prompt)
        # the published code reserves what it adds later a second time, which leaves the texts this much room
        room = limits.total - len(asked) if counts_prompt else limits.total + len(asked)
        return [self._join(queries[query], passages[passage], asked, room) for query, passage in pairs]

    def count_asked(self, prompt: str) -> int:
        """How many tokens follow the passage."""
        return len(self._separator) + len(self._tokenize_one(prompt))

    def _join(self, query: list[int], passage: list[int], asked: list[int], room: int) -> Row:
        query = self._before + query
        passage = self._separator + passage
        surplus = len(query) + len(passage) - room
        if 0 < surplus < len(passage):
            passage = passage[: len(passage) - surplus]
        n_separator = min(len(self._separator), len(passage))
        return {
            "input_ids": query + passage + asked,
            "parts": [QUERY] * (len(query) + n_separator)
            + [PASSAGE] * (len(passage) - n_separator)
            + [PROMPT] * len(asked),
        }

    def _tokenize_one(self, text: str) -> list[int]:
        return tokenize(self._tokenizer, [text])[text]

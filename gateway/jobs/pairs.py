"""Knows a job of pairs: each line has a query and passages, and gets their scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, model_validator

from gateway.jobs.destination import make_id
from gateway.jobs.items import Batch, Done, Failure, Outcome, Write
from gateway.jobs.lines import Line, count_items, read_lines
from gateway.jobs.scoring import Asked, Failed
from gateway.jobs.spec import PairsSpec
from gateway.jobs.tools import JobTools, tell_now
from gateway.scoring import tell_score
from search_plugin.raw_json import replace_surrogates
from worker.contract import MAX_PASSAGE_CHARS, MAX_PASSAGES, MAX_QUERY_CHARS

_BATCH_LINES, _BATCH_CHARS = 200, 100_000


def _clean(text: object) -> object:
    return replace_surrogates(text) if isinstance(text, str) else text


def _cut(text: str) -> str:
    return text[:MAX_PASSAGE_CHARS]


Passage = Annotated[str, BeforeValidator(_clean), AfterValidator(_cut)]
Texts = Annotated[list[Passage], Field(max_length=MAX_PASSAGES)]
Query = Annotated[str, BeforeValidator(_clean), Field(min_length=1, max_length=MAX_QUERY_CHARS)]


class PairLine(BaseModel):
    """A line: a query with one passage, with several, or with relevant ones and negatives (training data)."""

    query: Query
    id: str | int | None = None
    passage: Passage | None = None
    passages: Texts = []
    pos: Texts = []
    neg: Texts = []

    @model_validator(mode="after")
    def _check_passages(self) -> Self:
        given = [self.passage is not None, bool(self.passages), bool(self.pos or self.neg)]
        if sum(given) != 1:
            raise ValueError("expected one of passage, passages, pos and neg, not empty")
        return self

    @property
    def texts(self) -> tuple[str, ...]:
        """All of its passages."""
        one = () if self.passage is None else (self.passage,)
        return (*one, *self.passages, *self.pos, *self.neg)


class PairsWork:
    """See `gateway.jobs.items.Work`."""

    def __init__(self, spec: PairsSpec, tools: JobTools) -> None:
        self._spec = spec
        self._tools = tools
        self.total = count_items(tools.spool, tools.job)

    def batches(self, cursor: Mapping[str, Any] | None) -> Iterator[Batch[Line]]:
        """See `Work`."""
        lines: list[Line] = []
        chars, most = 0, self._spec.limit_batch(_BATCH_LINES)
        for line in read_lines(self._tools.spool, self._tools.job.round, cursor):
            lines.append(line)
            chars += len(line.text or b"")
            if len(lines) >= most or chars >= _BATCH_CHARS:
                yield Batch(lines, line.cursor)
                lines, chars = [], 0
        if lines:
            yield Batch(lines, lines[-1].cursor)

    def do(self, batch: Batch[Line]) -> list[Outcome]:
        """See `Work`."""
        outcomes: dict[int, Outcome] = {}  # by the line's number
        good: list[tuple[Line, PairLine, Mapping[str, Any]]] = []
        for line in batch.items:
            found = _read_line(line)
            if isinstance(found, Failure):
                outcomes[line.number] = found
            else:
                good.append((line, *found))
        asked = [Asked(pair.query, pair.texts) for _, pair, _ in good]
        scores = self._tools.scorer.score_many(self._tools.resolved.model, asked) if asked else []
        for (line, pair, members), logits in zip(good, scores, strict=True):
            outcomes[line.number] = (
                line.fail(f"scoring failed: {logits.reason}")
                if isinstance(logits, Failed)
                else self._write_row(line, pair, members, logits)
            )
        return [outcomes[line.number] for line in batch.items]

    def close(self) -> None:
        """See `Work`."""

    def _write_row(
        self, line: Line, found: PairLine, members: Mapping[str, Any], logits: Sequence[float]
    ) -> Done:
        is_logit = self._spec.scores == "logit"
        scores = [tell_score(logit, is_logit=is_logit) for logit in logits]
        row: dict[str, Any]
        if found.pos or found.neg:
            row = {**members, "pos_scores": scores[: len(found.pos)], "neg_scores": scores[len(found.pos) :]}
        else:
            name = {} if found.id is None else {"id": found.id}
            told = {"score": scores[0]} if found.passage is not None else {"scores": scores}
            row = {"line": line.number, **name, **told}
        return Done(row, line.place, len(scores), self._write_documents(line, found, scores))

    def _write_documents(self, line: Line, found: PairLine, scores: Sequence[float]) -> list[Write]:
        destination = self._spec.destination
        if destination is None:
            return []
        job, model, now = self._tools.job.id, self._tools.resolved.model, tell_now()
        return [
            Write(
                {"index": {"_index": destination.index, "_id": make_id(found.query, text)}},
                {
                    "job": job,
                    "query_id": None if found.id is None else str(found.id),
                    "query": found.query,
                    "line": line.number,
                    "passage": number,
                    "score": score,
                    "model": model,
                    "scored_at": now,
                },
            )
            for number, (text, score) in enumerate(zip(found.texts, scores, strict=True))
        ]


def _read_line(line: Line) -> tuple[PairLine, Mapping[str, Any]] | Failure:
    """The line, and its members as they stand there."""
    try:
        members = line.read()
        return PairLine.model_validate(members), members
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        problem = first["msg"].removeprefix("Value error, ")
        return line.fail(f"{place}: {problem}" if place else problem)
    except ValueError as error:
        return line.fail(f"not JSON: {error}")

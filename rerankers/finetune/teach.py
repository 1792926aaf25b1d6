"""``python -m rerankers teach``: training rows in, the same with a teacher's scores out."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean

from relevance.errors import RelevanceError
from relevance.files import write_lines
from relevance.rows import TrainingRow, read_rows
from relevance.split import find_part
from rerankers.commands.options import make_parser
from rerankers.cosine import CosineModel
from rerankers.errors import BadArgument
from rerankers.finetune.ranking import NDCG, compute_ndcg
from rerankers.finetune.teacher import COSINE_SCALE, Teacher, fit_teacher

UNTRAINED, TURNED = "the cosine as it is", "the cosine turned by judgments"
FOLDS = {str(number): 1.0 for number in range(5)}
DIGITS = 4
EXAMPLE = """\
The teacher is the embedding model's cosine after its vectors were turned by the rows' own judgments, if that
ranks queries better whose judgments it has not seen; else the cosine as it is.

example:
  python -m rerankers teach rows.jsonl --cosine embeddings/ --output taught.jsonl
  python -m rerankers finetune --train_data taught.jsonl --knowledge_distillation …"""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m rerankers teach") -> None:
    """Score rows by a teacher as a command line says; see ``--help``."""
    given = _build_parser(prog).parse_args(arguments)
    try:
        rows = list(read_rows(given.rows))
        lesson = Lesson(rows, CosineModel(given.cosine, given.device, given.max_length))
        figures = lesson.cross_validate(given.seed)
        told = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
        best = max(figures, key=lambda name: figures[name])
        print(f"{NDCG} of {len(rows)} rows whose judgments were not seen: {told}; the teacher is {best}")
        teacher = lesson.fit(range(len(rows)), given.seed) if best == TURNED else lesson.untrained
        write_lines(given.output, (row.to_line() for row in lesson.teach(teacher)))
    except RelevanceError as error:
        raise BadArgument(str(error)) from error


class Lesson:
    """Rows as vectors: Q queries, P different passages, of length 1."""

    def __init__(self, rows: Sequence[TrainingRow], model: CosineModel) -> None:
        self._rows = rows
        different = list(dict.fromkeys(passage for row in rows for passage in [*row.pos, *row.neg]))
        places = {passage: place for place, passage in enumerate(different)}
        self._places = [[places[passage] for passage in [*row.pos, *row.neg]] for row in rows]
        self._queries = model.embed([row.query for row in rows])  # (Q, D)
        self._passages = model.embed(different)  # (P, D)
        self.untrained = Teacher.untrained(self._queries.shape[1])

    def fit(self, chosen: Sequence[int], seed: int) -> Teacher:
        """The teacher that learns from the rows at these places."""
        relevant = [dict.fromkeys(self._places[row][: len(self._rows[row].pos)], 1.0) for row in chosen]
        return fit_teacher(self._queries[list(chosen)], self._passages, relevant, seed)

    def score(self, teacher: Teacher, chosen: Sequence[int]) -> list[list[float]]:
        """The logits of the rows at these places, relevant passages first."""
        queries, passages = teacher.turn_queries(self._queries), teacher.turn_passages(self._passages)
        return [(COSINE_SCALE * passages[self._places[row]] @ queries[row]).tolist() for row in chosen]

    def cross_validate(self, seed: int) -> dict[str, float]:
        """The mean nDCG@10 over the rows' own passages, by teachers that have not seen the query."""
        folds: dict[str, list[int]] = {}
        for row, shown in enumerate(self._rows):
            folds.setdefault(find_part(shown.query, FOLDS), []).append(row)
        everything = range(len(self._rows))
        turned: list[float] = []
        for fold in folds.values():
            others = sorted(set(everything) - set(fold))
            turned += self._measure(self.fit(others, seed) if others else self.untrained, fold)
        return {UNTRAINED: fmean(self._measure(self.untrained, everything)), TURNED: fmean(turned)}

    def teach(self, teacher: Teacher) -> Iterator[TrainingRow]:
        """The rows with scores."""
        scored = self.score(teacher, range(len(self._rows)))
        for row, scores in zip(self._rows, scored, strict=True):
            rounded = [round(score, DIGITS) for score in scores]
            n_relevant = len(row.pos)
            yield replace(row, pos_scores=rounded[:n_relevant], neg_scores=rounded[n_relevant:])

    def _measure(self, teacher: Teacher, chosen: Sequence[int]) -> list[float]:
        scores = self.score(teacher, chosen)
        return [
            compute_ndcg(of_row, len(self._rows[row].pos)) for row, of_row in zip(chosen, scores, strict=True)
        ]


def _build_parser(prog: str) -> argparse.ArgumentParser:
    parser = make_parser(
        prog, "Give training rows a teacher's scores; it is made of an embedding model and of them.", EXAMPLE
    )
    add = parser.add_argument
    add("rows", help="JSONL file of training rows")
    add("--cosine", required=True, help="folder of an embedding model")
    add("--output", required=True, help="JSONL file of the same rows with pos_scores and neg_scores")
    add("--seed", type=int, default=1, help="(default: %(default)s)")
    add("--max_length", type=int, default=512, help="tokens at which a text is cut (default: %(default)s)")
    add("--device", help="cpu, cuda:0, mps (default: a GPU, else the CPU)")
    return parser

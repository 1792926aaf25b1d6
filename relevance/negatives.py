"""Chooses hard negatives: what a first stage ranks well and is not relevant. Knows no cluster or model."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from relevance.errors import BadChoice
from relevance.judgments import JudgedQuery
from relevance.rows import TrainingRow
from relevance.runs import Ranking


@dataclass(frozen=True)
class NegativeRules:
    """Which negatives a query gets.

    Attributes:
        first, last: the ranks, from 1, that they are taken from; the best ones are too often relevant.
        count: how many.
        least_grade: the lowest grade that makes a document relevant.
        margin: how far, in logits, a teacher must have a negative below the worst relevant document.
        seed: another one draws others.
    """

    first: int = 5
    last: int = 100
    count: int = 15
    least_grade: int = 1
    margin: float = 0.0
    seed: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last:
            raise BadChoice(f"ranks: expected for example 5-100, found {self.first}-{self.last}")
        if self.count < 1 or self.least_grade < 1:
            raise BadChoice("negatives and least grade: expected at least 1 of each")

    def find_candidates(self, ranking: Ranking, query: JudgedQuery) -> list[str]:
        """The documents of these ranks that nobody has judged relevant, whatever the grade."""
        in_range = ranking[self.first - 1 : self.last]
        return [document for document in in_range if not query.grades.get(document, 0)]


def make_row(
    query: JudgedQuery,
    candidates: Sequence[str],
    passages: Mapping[str, str],
    rules: NegativeRules,
    scores: Mapping[str, float] | None = None,
) -> TrainingRow | None:
    """A query's row; None where no relevant document or no negative has a passage.

    Args:
        candidates: see `NegativeRules.find_candidates`.
        passages: by document id; those without one are left out, as is what reads like a relevant one.
        scores: a teacher's, by document id, of all that have a passage. What it finds as good as the worst
            relevant document, less the margin, may be relevant and was only never judged: it is no negative.
    """
    relevant = [document for document in query.find_relevant(rules.least_grade) if passages.get(document)]
    if not relevant:
        return None
    known = {passages[document] for document in query.find_relevant() if document in passages}
    fit = [document for document in candidates if passages.get(document) and passages[document] not in known]
    if scores is not None:
        limit = min(scores[document] for document in relevant) - rules.margin
        fit = [document for document in fit if scores[document] < limit]
    different: dict[str, str] = {}
    for document in fit:
        different.setdefault(passages[document], document)
    fit = [*different.values()]
    if not fit:
        return None
    drawn = random.Random(f"{rules.seed} {query.text}").sample(range(len(fit)), min(rules.count, len(fit)))
    chosen = [fit[place] for place in sorted(drawn)]
    return TrainingRow(
        query=query.text,
        pos=tuple(dict.fromkeys(passages[document] for document in relevant)),
        neg=tuple(passages[document] for document in chosen),
        pos_scores=None if scores is None else _score_texts(relevant, passages, scores),
        neg_scores=None if scores is None else tuple(scores[document] for document in chosen),
    )


def _score_texts(
    documents: Sequence[str], passages: Mapping[str, str], scores: Mapping[str, float]
) -> tuple[float, ...]:
    """One score a different text, in their order."""
    return tuple({passages[document]: scores[document] for document in documents}.values())

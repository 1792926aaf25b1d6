"""Several rankings of the same judged queries, each held against the first stage and the controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from relevance.comparison import Comparison, adjust, compare
from relevance.errors import BadChoice
from relevance.judgments import JudgedQuery
from relevance.measures import measure, read_measure, take_means
from relevance.popularity import count_popularity, rank_by_popularity
from relevance.runs import Run

Kind = Literal["first stage", "model", "control"]

FIRST_STAGE = "first stage"
POPULARITY = "popularity"
FEW_QUERIES = 25
SURE = 0.05


@dataclass(frozen=True)
class System:
    """What ranks.

    Attributes:
        values: by measure, one per query.
        latencies_ms: what a query took, of those that were timed.
        notes: what the reader must know of it.
    """

    name: str
    kind: Kind
    run: Run
    values: Mapping[str, Sequence[float]]
    latencies_ms: Sequence[float] = ()
    notes: Sequence[str] = ()

    @property
    def means(self) -> dict[str, float]:
        """By measure."""
        return take_means(self.values)


@dataclass(frozen=True)
class Regression:
    """A query that got worse."""

    query: JudgedQuery
    before: float
    after: float


@dataclass
class Evaluation:
    """Rankings of the same queries; the first of them is what the others are held against.

    Attributes:
        measures: the first decides.
    """

    queries: Sequence[JudgedQuery]
    measures: Sequence[str]
    systems: list[System] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in self.measures:
            read_measure(name)
        if not self.queries or not self.measures:
            raise BadChoice("nothing to evaluate: no queries, or no measures")

    def add(
        self,
        name: str,
        run: Run,
        kind: Kind = "model",
        latencies_ms: Sequence[float] = (),
        notes: Sequence[str] = (),
    ) -> None:
        """Measure a ranking.

        Raises:
            BadChoice: the name is taken.
        """
        if name in (system.name for system in self.systems):
            raise BadChoice(f"{name}: two rankings have this name")
        values = measure(self.queries, run, self.measures)
        self.systems.append(System(name, kind, run, values, latencies_ms, notes))

    def add_popularity(self, training: Sequence[JudgedQuery]) -> None:
        """The query-blind control over the first stage's candidates."""
        run = rank_by_popularity(self.first_stage.run, count_popularity(training))
        self.add(POPULARITY, run, "control")

    @property
    def first_stage(self) -> System:
        """What the others are held against."""
        return self.systems[0]

    @property
    def deciding(self) -> str:
        """The measure that comparisons go by."""
        return self.measures[0]

    @cached_property
    def comparisons(self) -> Mapping[str, Comparison]:
        """Of each but the first, against it, by name; ask when all are there."""
        return {system.name: self.compare(system, self.first_stage) for system in self.systems[1:]}

    @cached_property
    def adjusted(self) -> Mapping[str, float]:
        """The p-values of `comparisons`, adjusted for their number."""
        p_values = [comparison.p_value for comparison in self.comparisons.values()]
        return dict(zip(self.comparisons, adjust(p_values), strict=True))

    def compare(self, system: System, other: System) -> Comparison:
        """One against another by the measure that decides."""
        return compare(system.values[self.deciding], other.values[self.deciding])

    def find_regressions(self, system: System, most: int) -> list[Regression]:
        """The queries that lost most against the first stage, the worst first."""
        values = zip(
            self.queries, self.first_stage.values[self.deciding], system.values[self.deciding], strict=True
        )
        worse = [Regression(query, before, after) for query, before, after in values if after < before]
        return sorted(worse, key=lambda one: one.after - one.before)[:most]

    def find_warnings(self) -> list[str]:
        """What speaks against believing in a model, in sentences."""
        warnings = []
        for system in self.systems:
            if system.kind == "model":
                others = [one for one in self.systems if one.kind != "model"]
                warnings += [told for other in others if (told := self._warn(system, other))]
            warnings += [f"{system.name}: {note}" for note in system.notes]
        if len(self.queries) < FEW_QUERIES:
            warnings.append(
                f"only {len(self.queries)} queries: even large differences may be chance; "
                f"judge {FEW_QUERIES} or more"
            )
        return warnings

    def _warn(self, system: System, other: System) -> str:
        found = self.compare(system, other)
        if found.difference >= 0:
            return ""
        is_sure = found.p_value < SURE
        how = "loses to" if is_sure else "is not better than"
        chance = "" if is_sure else ", which may be chance"
        what = "the first stage" if other.kind == "first stage" else f"the control {other.name!r}"
        return (
            f"{system.name} {how} {what}: {self.deciding} {found.difference:+.3f} "
            f"({found.low:+.3f} to {found.high:+.3f}{chance})"
        )

"""Policies: which searches are reranked, and how. It knows index names, not requests."""

from collections.abc import Sequence
from string import Formatter
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from search_plugin.wildcards import matches

MAX_WINDOW = 10_000

Text = Annotated[str, Field(min_length=1)]
Mode = Literal["on", "off", "shadow"]
ScoreMode = Literal["replace", "linear", "rrf"]
PassageSource = Literal["_source", "fields", "highlight", "inner_hits"]


def read_template(template: str) -> list[tuple[str, str | None]]:
    """Split a passage template into its texts and the field behind each.

    Raises:
        ValueError: braces without a field's name, or with more than that.
    """
    parts = []
    for text, name, form, conversion in Formatter().parse(template):
        if name == "" or form or conversion:
            raise ValueError("expected {field}, and nothing else in braces")
        parts.append((text, name))
    if all(name is None for _, name in parts):
        raise ValueError("names no field")
    return parts


def _check_template(template: str) -> str:
    read_template(template)
    return template


class Chunking(BaseModel):
    """How a long passage is cut into chunks, each scored by itself, and what its score is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: int = Field(default=250, ge=20, le=2_000, description="Words a chunk may have.")
    overlap: int = Field(
        default=0, ge=0, le=1_000, description="Words that a chunk repeats of the one before."
    )
    by: Literal["sentence", "word"] = Field(
        default="sentence", description="Where a chunk ends: behind a sentence, where that fits, or anywhere."
    )
    most: int = Field(
        default=5, ge=1, le=50, description="Chunks scored a hit: those that share most words with the query."
    )
    score: Literal["max", "first", "mean"] = Field(
        default="max",
        description="The hit's score: its best chunk's, its first one's, or the mean of all scored.",
    )

    @model_validator(mode="after")
    def _check_overlap(self) -> Self:
        if 2 * self.overlap > self.words:
            raise ValueError("overlap must be at most half of words")
        return self


class Policy(BaseModel):
    """How the searches of some indices are reranked. Unknown options are refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Text = Field(description="What people call this policy.")
    indices: tuple[Text, ...] = Field(
        min_length=1, description="Patterns of index names and aliases; `*` stands for any characters."
    )
    mode: Mode = Field(
        default="on",
        description="`on`: every search is reranked; `off`: those that ask for it; `shadow`: scored only.",
    )
    model: Text = Field(description="Alias of the model that scores.")
    passage_fields: tuple[Text, ...] = Field(
        default=(),
        description="Fields that make up a passage, in this order; `a.b` looks inside `a`. None: all texts.",
    )
    separator: str = Field(default="\n", description="Stands between the fields of a passage.")
    passage_template: Annotated[str, AfterValidator(_check_template)] | None = Field(
        default=None, description="Instead of fields and separator: `{title}: {body}`; `{{` is a brace."
    )
    passage_sources: tuple[PassageSource, ...] = Field(
        default=("_source", "fields"),
        min_length=1,
        description="Where in a hit a field is looked for; the first of these with a text of it counts.",
    )
    max_passage_chars: int = Field(
        default=2000, gt=0, le=100_000, description="Characters at which a passage is cut."
    )
    chunks: Chunking | None = Field(default=None, description="Long passages are scored in chunks.")
    query_text_path: Text | None = Field(
        default=None, description="Where in the body the query text stands, if it can't be told otherwise."
    )
    window: int = Field(
        default=50, ge=1, le=MAX_WINDOW, description="Number of first-stage hits that are scored."
    )
    max_window: int = Field(
        default=1000, ge=1, le=MAX_WINDOW, description="The largest window a request may ask for."
    )
    deadline_ms: int = Field(
        default=1000,
        gt=0,
        description="Milliseconds, from the request's arrival, in which the scores must be there.",
    )
    max_deadline_ms: int = Field(
        default=10_000, gt=0, description="The longest deadline a request may ask for."
    )
    score_mode: ScoreMode = Field(
        default="replace", description="What becomes of the model's and the first stage's score."
    )
    weight: float = Field(default=0.8, ge=0, le=1, description="`linear`: the model's share of the score.")
    rank_constant: int = Field(default=60, ge=1, description="`rrf`: what is added to each rank.")
    min_score: float | None = Field(
        default=None, allow_inf_nan=False, description="Hits with a lower score are left out."
    )
    keep_previous_score: bool = Field(
        default=False,
        description="Each hit's first-stage score stands in `fields` as `_rerank.previous_score`.",
    )
    annotate: bool = Field(
        default=False,
        description="What was done stands in the answer, as `ext.rerank`, also where nobody asked.",
    )
    ext_rerank: Literal["use", "passthrough"] = Field(
        default="use", description="`passthrough`: OpenSearch's own `ext.rerank` is left to the cluster."
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.passage_template is not None and self.passage_fields:
            raise ValueError("passage_fields and passage_template exclude each other")
        return self

    @property
    def largest_window(self) -> int:
        """The largest that a request may ask for."""
        return max(self.max_window, self.window)

    @property
    def longest_deadline_ms(self) -> int:
        """The longest that a request may ask for."""
        return max(self.max_deadline_ms, self.deadline_ms)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that its passages need, each once; empty for all texts."""
        if self.passage_template is None:
            return self.passage_fields
        named = (name for _, name in read_template(self.passage_template) if name is not None)
        return tuple(dict.fromkeys(named))


def find_policy(indices: Sequence[str], policies: Sequence[Policy]) -> Policy | None:
    """Find the first policy that covers every part of the search's index expression.

    A search of all indices (no index, ``_all``, ``*``) needs a policy with the pattern ``*``. Exclusions
    (``-name``) only make a search narrower and are not looked at. Date math and remote clusters are matched
    as they are written.
    """
    included = ["*" if part == "_all" else part for part in indices if not part.startswith("-")]
    return next((policy for policy in policies if _covers(policy, included or ["*"])), None)


def _covers(policy: Policy, parts: Sequence[str]) -> bool:
    # Only a `*` of the pattern matches a part's own `*`: what matches as text covers all that it stands for.
    return all(any(matches(part, pattern) for pattern in policy.indices) for part in parts)

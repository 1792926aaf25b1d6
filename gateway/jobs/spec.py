"""Knows what a bulk job may be asked to do, and tells what is wrong with what was asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from gateway.errors import GatewayError
from gateway.settings import Config
from search_plugin import Policy, find_policy
from worker.contract import MAX_QUERY_CHARS

Kind = Literal["queries", "pairs", "scan"]
Text = Annotated[str, Field(min_length=1)]

MAX_HITS = 1_000  # of a query that are kept
_CREATED_NAMES = re.compile(r'[a-z0-9.][^\s\\/*?"<>|,#:A-Z]*')


class BadJob(GatewayError):
    """What is asked of a job can't be done (the caller's mistake: answered 400)."""


def _check_created(name: str) -> str:
    if not _CREATED_NAMES.fullmatch(name) or name in (".", "..") or len(name.encode()) > 255:
        raise ValueError("not a name that an index can have")
    return name


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Destination(_Options):
    """Where results go beside the job's own files."""

    index: Annotated[str, AfterValidator(_check_created)] | None = Field(
        None, description="An index that gets a document a hit or pair, under an id made of what it says."
    )
    field: Text | None = Field(
        None, description="For a scan: the field of each scanned document that gets its score."
    )

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.index is None) == (self.field is None):
            raise ValueError("expected either index or field")
        return self


class _Spec(_Options):
    name: str = Field("", max_length=200, description="What people call it.")
    model: Text | None = Field(None, description="The policy's, or the first that is declared, without it.")
    scores: Literal["probability", "logit"] = Field(
        "probability", description="What is told of a pair: the sigmoid of the logit, or the logit itself."
    )
    destination: Destination | None = None
    concurrency: int = Field(4, ge=1, le=32, description="Batches that are worked on at the same time.")
    max_pairs_per_s: PositiveFloat | None = Field(None, description="Not more pairs than this are asked for.")

    def limit_batch(self, most: int) -> int:
        """Items of a batch: fewer than could be where only so many a second are wanted."""
        per_s = self.max_pairs_per_s
        return most if per_s is None else max(1, min(most, int(per_s / 4)))

    def resolve(self, config: Config) -> Resolved:
        """With the policy and the model that it means.

        Raises:
            BadJob: there is no such policy or model.
        """
        policy = self._find_policy(config)
        model = self.model or (policy.model if policy else config.default_model)
        if model not in config.models:
            raise BadJob(f"model: {model!r} is not declared; declared: {', '.join(config.models) or 'none'}")
        return Resolved(policy=policy, model=model)

    def _find_policy(self, config: Config) -> Policy | None:
        return None


class Resolved(_Options):
    """What a job's names stand for now."""

    policy: Policy | None
    model: str


class _IndexSpec(_Spec):
    index: Text | None = Field(None, description="Index, alias or pattern that is searched.")
    policy: Text | None = Field(None, description="Instead of an index: what this policy covers.")

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        if self.index is None and self.policy is None:
            raise ValueError("expected index or policy")
        return self

    def _find_policy(self, config: Config) -> Policy | None:
        if self.policy is not None:
            named = (policy for policy in config.policies if policy.name == self.policy)
            policy = next(named, None)
            if policy is None:
                names = ", ".join(policy.name for policy in config.policies) or "none"
                raise BadJob(f"policy: {self.policy!r} is not declared; declared: {names}")
            return policy
        policy = find_policy((self.index or "").split(","), config.policies)
        if policy is None:
            raise BadJob(
                f"index: no policy covers {self.index!r}, so nobody knows its passages; name a policy"
            )
        return policy

    def find_index(self, policy: Policy) -> str:
        """The index expression that is searched."""
        return self.index or ",".join(policy.indices)


class QueriesSpec(_IndexSpec):
    """Each query is searched, and the best hits of its reranked answer are the result."""

    kind: Literal["queries"] = "queries"
    top_k: int = Field(100, ge=1, le=MAX_HITS, description="Hits that are fetched, scored and kept a query.")
    fields: tuple[Text, ...] = Field(
        (), description="Where the cluster looks for a plain query; those of the policy's passages without."
    )

    def resolve(self, config: Config) -> Resolved:
        """See `_Spec`."""
        resolved = super().resolve(config)
        assert resolved.policy is not None
        if find_policy(self.find_index(resolved.policy).split(","), config.policies) != resolved.policy:
            raise BadJob(f"index: policy {resolved.policy.name!r} is not the one that covers {self.index!r}")
        if self.top_k > resolved.policy.largest_window:
            most = resolved.policy.largest_window
            raise BadJob(f"top_k: policy {resolved.policy.name!r} allows windows up to {most} (max_window)")
        if self.destination and self.destination.field:
            raise BadJob("destination.field: only a scan can write into the documents it reads")
        return resolved


class PairsSpec(_Spec):
    """Each line has a query and its passages."""

    kind: Literal["pairs"] = "pairs"

    def resolve(self, config: Config) -> Resolved:
        """See `_Spec`."""
        if self.destination and self.destination.field:
            raise BadJob("destination.field: only a scan can write into the documents it reads")
        return super().resolve(config)


class ScanSpec(_IndexSpec):
    """One query against all documents of an index that match a clause."""

    kind: Literal["scan"] = "scan"
    query_text: Annotated[str, Field(min_length=1, max_length=MAX_QUERY_CHARS)]
    query: dict[str, Any] = Field({"match_all": {}}, description="The clause that documents must match.")
    page_size: int = Field(200, ge=1, le=1_000, description="Documents that are read at once.")


Spec = QueriesSpec | PairsSpec | ScanSpec
_SPEC: TypeAdapter[Spec] = TypeAdapter(Annotated[Spec, Field(discriminator="kind")])


def read_spec(asked: Mapping[str, Any]) -> Spec:
    """Read what a job is to do.

    Raises:
        BadJob: it names what is wrong, and where.
    """
    try:
        return _SPEC.validate_python(dict(asked))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        kinds = ("queries", "pairs", "scan")
        place = ".".join(str(part) for part in first["loc"] if part not in kinds)
        if first["type"].startswith("union_tag"):
            place, first["msg"] = "kind", f"expected one of {', '.join(kinds)}"
        problem = first["msg"].removeprefix("Value error, ")
        raise BadJob(f"{place}: {problem}" if place else problem) from None

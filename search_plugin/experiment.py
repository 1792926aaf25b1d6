"""Experiments: who takes part, and which of the rankings they get. It knows no searches."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from search_plugin.policy import Text

ExperimentKind = Literal["ab", "interleave", "shadow"]

POLICY_ARM = "policy"
"""The arm that does what the policy says."""

FIRST_STAGE_ARM = "first_stage"
"""The arm that shows the cluster's order."""

_ARMS: Mapping[ExperimentKind, tuple[int, int]] = {"ab": (1, 8), "interleave": (2, 2), "shadow": (2, 2)}
_EXACT_BITS = 53  # of a float


class Experiment(BaseModel):
    """Rankings that are compared on the searches of a policy. Unknown options are refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="What people call it; another name deals the units anew."
    )
    policy: Text = Field(description="The policy whose searches take part.")
    kind: ExperimentKind = Field(
        default="ab",
        description="`ab`: each unit gets one arm; `interleave`: pages are mixed of two; `shadow`: the first "
        "is shown, the second only scored.",
    )
    arms: tuple[Text, ...] = Field(
        description="`policy`, `first_stage`, or models and versions; the others are held against the first."
    )
    share: float = Field(default=1.0, ge=0, le=1, description="Of all units, how many take part.")
    unit: Annotated[str, StringConstraints(pattern=r"^(header|cookie|parameter):[!#-+\--:<>-~]{1,100}$")] = (
        Field(description="What names a session or user: `header:…`, `cookie:…` or `parameter:…`.")
    )
    actions: tuple[Text, ...] = Field(
        default=("click", "click_through"), min_length=1, description="The events that are clicks."
    )
    object_id_field: Text = Field(
        default="_id", description="By which field of a hit events name it; `_id`, or one of its source."
    )

    @model_validator(mode="after")
    def _check_arms(self) -> Self:
        least, most = _ARMS[self.kind]
        if not least <= len(self.arms) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise ValueError(f"arms: {self.kind} has {wanted}")
        if len(set(self.arms)) < len(self.arms):
            raise ValueError("arms: one stands twice")
        return self

    @property
    def models(self) -> tuple[str, ...]:
        """Those that its arms name."""
        return tuple(arm for arm in self.arms if arm not in (POLICY_ARM, FIRST_STAGE_ARM))

    @property
    def fingerprint(self) -> str:
        """Changes when what was counted before is no longer to be compared with what is counted now."""
        told = self.model_dump_json(include={"policy", "kind", "arms", "unit", "actions"})
        return blake2b(told.encode(), digest_size=4).hexdigest()

    def includes(self, unit: str) -> bool:
        """Does this session or user take part? Whoever does still does when the share grows."""
        return self._draw("share", unit) < self.share

    def choose_arm(self, unit: str) -> int:
        """The arm of a unit, the same each time; all are equally likely, whatever the share."""
        return int(self._draw("arm", unit) * len(self.arms))

    def choose_part(self, unit: str, n_parts: int) -> int:
        """Which of so many parts of all units this one belongs to; independent of its arm."""
        return int(self._draw(f"of {n_parts}", unit) * n_parts)

    def _draw(self, purpose: str, unit: str) -> float:
        """From 0 to below 1; as good as random, and independent for another purpose or experiment."""
        told = f"{self.name}\0{purpose}\0{unit}".encode("utf-8", "surrogateescape")
        drawn = int.from_bytes(blake2b(told, digest_size=8).digest()) >> (64 - _EXACT_BITS)
        return drawn / float(1 << _EXACT_BITS)

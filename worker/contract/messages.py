"""The messages between gateways and workers, checked on both sides."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ModelWrapValidatorHandler,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json

MAX_QUERY_CHARS = 10_000
MAX_PASSAGES = 10_000
MAX_PASSAGE_CHARS = 100_000

JobId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
DeclaredAlias = Annotated[str, StringConstraints(pattern=rf"^{_NAME}$")]
ModelAlias = Annotated[str, StringConstraints(pattern=rf"^{_NAME}(@{_NAME})?$")]
"""A declared alias, or one pinned to a version: ``docs@v2``."""

Passage = Annotated[str, StringConstraints(max_length=MAX_PASSAGE_CHARS)]

_JOB_ID: TypeAdapter[str] = TypeAdapter(JobId)


class ContractError(Exception):
    """The sender's message breaks the contract; ``field`` is the dotted path of the part at fault."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class _Message(BaseModel):
    """What all messages share: frozen, nothing unknown, every breach a ContractError that quotes no text."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    whole: ClassVar[str]  # what an error calls the message when no single field is at fault

    @model_validator(mode="wrap")
    @classmethod
    def _name_the_field(cls, value: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            field = ".".join(map(str, first["loc"])) or cls.whole
            raise ContractError(field, first["msg"]) from None  # the cause would quote the texts


class _Task(_Message):
    """What goes to workers."""

    def to_message(self) -> dict[str, Any]:
        """As the JSON object that is the task's only argument."""
        return self.model_dump(mode="json")

    @classmethod
    def from_message(cls, message: object) -> Self:
        """Read what `to_message` wrote.

        Raises:
            ContractError: a field is missing, unknown, of the wrong type or over its limit.
        """
        return cls.model_validate(message)


class _Answer(_Message):
    """What comes back."""

    def to_message(self) -> bytes:
        """As the bytes pushed to the reply list."""
        return self.model_dump_json(exclude_none=True).encode()

    @classmethod
    def from_message(cls, message: bytes) -> Self:
        """Read what `to_message` wrote.

        Raises:
            ContractError: not JSON, or not such an answer.
        """
        try:
            fields = from_json(message)
        except ValueError as error:
            raise ContractError(cls.whole, f"not JSON: {error}") from None
        return cls.model_validate(fields)


class ScoreJob(_Task):
    """One query and the passages to score against it, or a part of them.

    Building one by hand raises `ContractError` as `from_message` does.
    """

    whole: ClassVar[str] = "job"

    version: Literal[2] = 2
    id: JobId
    part: int = Field(
        default=0, ge=0, description="Which of several messages with this id; its reply says it."
    )
    model: ModelAlias
    policy: str = Field(default="", max_length=200, description="Each gets its share where many wait.")
    bulk: bool = Field(
        default=False, description="No search waits for it: it is scored when nothing else is."
    )
    query_text: str = Field(max_length=MAX_QUERY_CHARS, repr=False)
    passages: tuple[Passage, ...] = Field(min_length=1, max_length=MAX_PASSAGES, repr=False)
    deadline: FiniteFloat = Field(
        gt=0, strict=True, description="Epoch seconds of Redis's clock; a later reply helps nobody."
    )
    sent: FiniteFloat = Field(
        default=0.0, ge=0, strict=True, description="When, by the same clock; 0: not known."
    )

    @property
    def cost(self) -> int:
        """What it takes to score, in characters that are read."""
        return len(self.query_text) * len(self.passages) + sum(map(len, self.passages))


class ScoreReply(_Answer):
    """The answer to one job: one logit per passage in the job's order, or why there are none."""

    whole: ClassVar[str] = "reply"

    id: JobId
    part: int = Field(default=0, ge=0)
    scores: tuple[FiniteFloat, ...] | None = None
    error: str | None = Field(default=None, min_length=1, max_length=1_000)
    queue_ms: FiniteFloat = Field(default=0.0, ge=0, description="From sending to the first forward pass.")
    model_ms: FiniteFloat = Field(default=0.0, ge=0, description="The forward passes that it had a share in.")
    n_tokens: int = Field(default=0, ge=0, description="What the job's pairs have.")
    model_version: str = Field(default="", max_length=100, description="Changes when the model's files do.")

    @model_validator(mode="after")
    def _scores_or_error(self) -> Self:
        if (self.scores is None) == (self.error is None):
            raise ContractError("scores", "exactly one of scores and error must be given")
        return self


class ScoreJobs(_Task):
    """Bulk jobs that travel in one message and are answered in one."""

    whole: ClassVar[str] = "jobs"

    id: JobId
    jobs: tuple[ScoreJob, ...] = Field(min_length=1, max_length=MAX_PASSAGES)


class ScoreReplies(_Answer):
    """The answer to `ScoreJobs`: a reply a job, in their order, or why there is none."""

    whole: ClassVar[str] = "replies"

    id: JobId
    replies: tuple[ScoreReply, ...] = ()
    error: str | None = Field(default=None, min_length=1, max_length=1_000)


def read_job_id(message: object) -> str | None:
    """The id of a message that may be malformed elsewhere, so that its sender can be answered."""
    try:
        return _JOB_ID.validate_python(message["id"] if isinstance(message, dict) else None)
    except (KeyError, ValidationError):
        return None

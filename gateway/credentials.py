"""Knows what the gateway says of itself to the cluster where a request names nobody."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from gateway.wire import Header


class Outgoing(NamedTuple):
    """A request to the cluster; the arguments of `Node.send`."""

    method: str
    target: str
    headers: Sequence[Header]
    body: bytes | Iterable[bytes]


class Credentials(Protocol):
    """Puts them on a request."""

    def authorize(self, request: Outgoing) -> Outgoing:
        """The request with credentials; the one given is not changed."""


@dataclass(frozen=True)
class FixedCredentials:
    """One Authorization header for the requests that have none; the caller's own is never replaced.

    Args:
        authorization: the header's value, a secret.
    """

    authorization: bytes = field(repr=False)

    @classmethod
    def from_password(cls, username: str, password: str) -> FixedCredentials:
        """HTTP Basic."""
        return cls(b"Basic " + base64.b64encode(f"{username}:{password}".encode()))

    @classmethod
    def from_api_key(cls, encoded: str) -> FixedCredentials:
        """The engines' API keys; ``encoded`` is base64 of id:api_key."""
        return cls(b"ApiKey " + encoded.encode())

    def authorize(self, request: Outgoing) -> Outgoing:
        """See `Credentials`."""
        if any(name.lower() == b"authorization" for name, _ in request.headers):
            return request
        return request._replace(headers=[*request.headers, (b"Authorization", self.authorization)])

"""Knows how commands talk to a running gateway that they manage."""

from __future__ import annotations

import argparse
import json
import os
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

_TIMEOUT_S = 60.0


class Refused(Exception):
    """What the gateway says, or that it says nothing."""


class Talk:
    """With what one gateway has under a path.

    Args:
        key: of those who manage it; empty where none is needed.
    """

    def __init__(self, url: str, key: str, path: str) -> None:
        self._url = f"{url.rstrip('/')}/_rerank/{path}"
        self._headers = {"X-Rerank-Key": key} if key else {}

    def ask(self, method: str, path: str = "", body: object = None) -> dict[str, Any]:
        """Its answer, read as JSON.

        Raises:
            Refused: it says no, or nothing.
        """
        content = None if body is None else json.dumps(body).encode()
        told: dict[str, Any] = json.load(self.open(method, path, content))
        return told

    def open(self, method: str, path: str, content: bytes | IO[bytes] | None = None) -> Any:
        """Its answer, to be read and closed.

        Raises:
            Refused: it says no, or nothing.
        """
        request = Request(self._url + path, content, {**self._headers}, method=method)
        try:
            return urlopen(request, timeout=_TIMEOUT_S)
        except HTTPError as error:
            raise Refused(_read_reason(error)) from None
        except (URLError, OSError) as error:
            raise Refused(f"{self._url}: {getattr(error, 'reason', error)}") from None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which gateway, and by which key."""
    parser.add_argument("--url", default=os.environ.get("RERANK_URL", "http://127.0.0.1:9201"))
    parser.add_argument(
        "--key", default=os.environ.get("RERANK_KEY", ""), help="a management key; or in $RERANK_KEY"
    )


def _read_reason(error: HTTPError) -> str:
    try:
        reason: str = json.load(error)["error"]["reason"]
        return reason
    except (ValueError, KeyError, TypeError):
        return f"{error.code} {error.reason}"

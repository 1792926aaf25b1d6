"""Knows who may manage the gateway: who has a key, or without any who asks from this machine itself."""

from __future__ import annotations

import time
from base64 import b64decode
from collections import OrderedDict
from ipaddress import ip_address
from threading import Lock
from urllib.parse import urlsplit

from werkzeug.datastructures import Headers

from gateway.errors import GatewayError
from gateway.keys import Keys

KEY_HEADER = "X-Rerank-Key"
"""The key, where Authorization is for the cluster."""

_WRONG_KEYS, _FORGET_S = 10, 60.0
_MOST_PEERS = 10_000
_LINKS = ("GET", "HEAD")


class NotAllowed(GatewayError):
    """Who asks may not (the caller's fault).

    Attributes:
        status: 401 without a right key, 403 where none would help, 429 after too many wrong ones.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Gate:
    """Lets requests to management in or not.

    Without keys only a client on this machine is let in, and only where it speaks to a loopback address and
    is neither a proxy nor a page of another site: what it reaches by mistake is then nobody else's to reach.

    Args:
        is_loopback: the listener is bound to a loopback address.
    """

    def __init__(self, keys: Keys, *, is_loopback: bool) -> None:
        self._keys = keys
        self._is_loopback = is_loopback
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()  # peer → when it came with wrong keys
        self._lock = Lock()

    def check(self, method: str, headers: Headers, peer: str) -> None:
        """Let a request in.

        Args:
            headers: the request's.
            peer: the client's address.

        Raises:
            NotAllowed: it may not.
        """
        if _is_lured(method, headers):
            raise NotAllowed(403, "a page of another site may not manage this gateway")
        if not self._keys:
            self._check_loopback(headers)
            return
        if self._is_limited(peer):
            raise NotAllowed(429, f"too many wrong keys; try again in {_FORGET_S:.0f} seconds")
        key = _find_key(headers)
        if not self._keys.fit(key):
            if key:  # a browser asks without one first
                self._note_wrong(peer)
            raise NotAllowed(401, f"a key is needed: Authorization: Bearer KEY, or {KEY_HEADER}: KEY")

    def find_credentials(self, headers: Headers) -> str:
        """The Authorization that is for the cluster, since no key stands there; else empty."""
        is_key = self._keys and KEY_HEADER not in headers
        return "" if is_key else headers.get("Authorization", "")

    def _check_loopback(self, headers: Headers) -> None:
        is_near = self._is_loopback and is_loopback(_find_host(headers))
        if not is_near or "X-Forwarded-For" in headers or "Forwarded" in headers:
            raise NotAllowed(403, "management needs --management-keys where others can reach the gateway")

    def _is_limited(self, peer: str) -> bool:
        since = time.monotonic() - _FORGET_S
        with self._lock:
            return sum(moment > since for moment in self._wrong.get(peer, ())) >= _WRONG_KEYS

    def _note_wrong(self, peer: str) -> None:
        with self._lock:
            moments = self._wrong.pop(peer, [])
            self._wrong[peer] = [*moments[1 - _WRONG_KEYS :], time.monotonic()]
            if len(self._wrong) > _MOST_PEERS:
                self._wrong.popitem(last=False)


def is_loopback(host: str) -> bool:
    """Does it name this machine to itself only?"""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_lured(method: str, headers: Headers) -> bool:
    """Is it another site's page that asks? A link that somebody follows is no request of the page's own."""
    origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
    if site is None:  # no browser of today; those of yesterday tell the origin
        return origin is not None and urlsplit(origin).netloc != headers.get("Host")
    is_others = site in ("cross-site", "same-site")
    return is_others and not (method in _LINKS and headers.get("Sec-Fetch-Mode") == "navigate")


def _find_host(headers: Headers) -> str:
    try:
        return urlsplit(f"//{headers.get('Host', '')}").hostname or ""
    except ValueError:
        return ""


def _find_key(headers: Headers) -> bytes:
    if key := headers.get(KEY_HEADER):
        return key.strip().encode("latin-1", "replace")
    scheme, _, rest = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip().encode("latin-1", "replace")
    if scheme.lower() == "basic":  # browsers ask for it; whatever the user, the password is the key
        try:
            return b64decode(rest.strip(), validate=True).partition(b":")[2]
        except ValueError:
            return b""
    return b""

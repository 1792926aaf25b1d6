"""Knows how Redis is reached: one URL, read once for both redis-py and Celery.

::

    redis://[user:password@]host[:port][/db]
    rediss://…[?ssl_ca_certs=ca.pem]                        the same over TLS
    sentinel://[user:password@]host[:port][,host[:port]…][/db]?master_name=mymaster
    sentinels://…                                           the same over TLS, to Sentinels and to Redis

The package itself leaves this out, since it needs redis-py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from redis import Redis
from redis.sentinel import Sentinel

from worker.contract.names import BROKER_OPTIONS

_PORTS = {"redis": 6379, "rediss": 6379, "sentinel": 26379, "sentinels": 26379}
_TLS_SCHEMES = ("rediss", "sentinels")
_SENTINEL_SCHEMES = ("sentinel", "sentinels")

_TRANSPORT = "worker.contract.transport:RedisTransport"
_SENTINEL_TRANSPORT = "worker.contract.transport:SentinelTransport"

_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_CHOICES = {"ssl_cert_reqs": ("required", "none"), "ssl_check_hostname": ("true", "false")}
_TLS_OPTIONS = (*_TLS_FILES, *_TLS_CHOICES, "ssl_password")  # redis-py's names
_SENTINEL_OPTIONS = ("master_name", "sentinel_username", "sentinel_password")


@dataclass(frozen=True)
class RedisAddress:
    """Where Redis is and how it is talked to.

    Attributes:
        hosts: with ports; the Sentinels', where there is a ``master_name``.
        login: user and password for Redis, under redis-py's names.
        tls: redis-py's options; empty: no TLS.
        master_name: under which the Sentinels know the master; empty: no Sentinels.
        sentinel_login: as ``login``, for the Sentinels.
    """

    hosts: tuple[tuple[str, int], ...]
    db: int = 0
    login: Mapping[str, Any] = field(default_factory=dict, repr=False)
    tls: Mapping[str, Any] = field(default_factory=dict, repr=False)
    master_name: str = ""
    sentinel_login: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Read the URL.

        Raises:
            ValueError: what is wrong, without quoting what may be secret.
        """
        parts = _split(url)
        if parts.scheme not in _PORTS:
            raise ValueError(f"expected {', '.join(f'{scheme}://' for scheme in _PORTS)}")
        has_tls, has_sentinels = parts.scheme in _TLS_SCHEMES, parts.scheme in _SENTINEL_SCHEMES
        options = _read_options(parts.query, has_tls, has_sentinels)
        sentinel_login = {
            name: options[f"sentinel_{name}"]
            for name in ("username", "password")
            if f"sentinel_{name}" in options
        }
        db = parts.path.strip("/") or "0"
        if not db.isdecimal():
            raise ValueError("the path is not a database's number")
        return cls(
            hosts=_read_hosts(parts, has_sentinels),
            db=int(db),
            login=_read_login(parts),
            tls=_read_tls(options) if has_tls else {},
            master_name=options.get("master_name", ""),
            sentinel_login=sentinel_login,
        )

    def connect(self, **options: Any) -> Redis:
        """A client of Redis; where Sentinels are asked, of that which is the master when it connects.

        There nothing is tried again, whatever ``retry`` says: redis-py would go to the same host, and asks
        the Sentinels only before the next command.

        Args:
            options: redis-py's for each connection.
        """
        options = {**self.login, **self._ssl, "db": self.db, **options}
        if not self.master_name:
            ((host, port),) = self.hosts
            return Redis(host, port, **options)
        options["retry"] = None
        sentinel = Sentinel(self.hosts, sentinel_kwargs=self._sentinel_options(options), **options)  # type: ignore[no-untyped-call]
        return cast(Redis, sentinel.master_for(self.master_name))  # type: ignore[no-untyped-call]

    def configure_celery(self, **options: Any) -> dict[str, Any]:
        """Celery's settings for this broker, which a CELERY_BROKER_URL in the environment does not change.

        Args:
            options: kombu's transport options beside ours.
        """
        if self.master_name:
            to_sentinels = self._sentinel_options(options)
            options = {"master_name": self.master_name, "sentinel_kwargs": to_sentinels, **options}
        url = ";".join(self._broker_urls())
        return {
            "broker_read_url": url,
            "broker_write_url": url,
            "broker_transport": _SENTINEL_TRANSPORT if self.master_name else _TRANSPORT,
            "broker_use_ssl": dict(self.tls) or False,
            "broker_transport_options": {**BROKER_OPTIONS, **options},
        }

    @property
    def _ssl(self) -> dict[str, Any]:
        return {"ssl": True, **self.tls} if self.tls else {}

    def _sentinel_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """For connections to Sentinels: no retries, since there is another one to ask."""
        timeouts = {name: value for name, value in options.items() if name.startswith("socket_")}
        return {**self.sentinel_login, **self._ssl, **timeouts, "retry": None}

    def _broker_urls(self) -> list[str]:
        """One for each host, whole: kombu turns from one to the next."""
        scheme = "sentinel" if self.master_name else "rediss" if self.tls else "redis"
        user, password = (quote(self.login.get(name, ""), safe="") for name in ("username", "password"))
        login = f"{user}:{password}@" if self.login else ""
        return [
            f"{scheme}://{login}{f'[{host}]' if ':' in host else host}:{port}/{self.db}"
            for host, port in self.hosts
        ]


def check_redis_url(url: str) -> str:
    """The URL, if it can be read.

    Raises:
        ValueError: see `RedisAddress.from_url`.
    """
    RedisAddress.from_url(url)
    return url


def _split(url: str) -> SplitResult:
    """As `urlsplit`, whose own errors quote the URL."""
    try:
        parts = urlsplit(url)
        _ = parts.port if "," not in parts.netloc else None
    except ValueError:
        raise ValueError("not a URL with a port's number; reserved characters are written as %XX") from None
    return parts


def _read_hosts(parts: SplitResult, may_be_many: bool) -> tuple[tuple[str, int], ...]:
    hosts = parts.netloc.rpartition("@")[2].split(",")
    if len(hosts) > 1 and not may_be_many:
        raise ValueError("one host expected; several are Sentinels, sentinel://")
    found = [_split(f"//{host}") for host in hosts]
    if not all(host.hostname for host in found):
        raise ValueError("a host is missing")
    return tuple((host.hostname or "", host.port or _PORTS[parts.scheme]) for host in found)


def _read_login(parts: SplitResult) -> dict[str, str]:
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    login = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in login.items() if value}


def _read_options(query: str, has_tls: bool, has_sentinels: bool) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = (*(_TLS_OPTIONS if has_tls else ()), *(_SENTINEL_OPTIONS if has_sentinels else ()))
    for name in options:
        if name not in known:
            raise ValueError(f"{name}: expected {' or '.join(known) or 'no options'}")
    if has_sentinels and not options.get("master_name"):
        raise ValueError("master_name is missing")
    return options


def _read_tls(options: Mapping[str, str]) -> dict[str, Any]:
    tls: dict[str, Any] = {name: options[name] for name in _TLS_OPTIONS if name in options}
    for name in _TLS_FILES:
        if name in tls and not Path(tls[name]).is_file():
            raise ValueError(f"{name}: no file {tls[name]}")
    for name, choices in _TLS_CHOICES.items():
        if tls.setdefault(name, choices[0]) not in choices:
            raise ValueError(f"{name}: expected {' or '.join(choices)}")
    return {**tls, "ssl_check_hostname": tls["ssl_check_hostname"] == "true"}

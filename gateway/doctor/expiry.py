"""Knows when certificates expire, and when that is soon."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

from gateway import http1
from gateway.cluster import open_tls
from gateway.cluster_settings import ClusterSettings
from gateway.doctor.finding import Finding, hint, ok, problem

SOON_DAYS = 21
_DAY_S = 24 * 60 * 60


def judge_expiry(subject: str, name: str, expires: float, now: float) -> Finding:
    """Of a certificate that expires at this moment (epoch seconds)."""
    days = int((expires - now) // _DAY_S)
    if days < 0:
        return problem(subject, f"{name} has expired", "renew it")
    if days < SOON_DAYS:
        return hint(subject, f"{name} expires in {days} days", "renew it")
    return ok(subject, f"{name} is valid for {days} days")


def read_file_expiry(cert: Path) -> float:
    """When the first certificate of a PEM file expires, in epoch seconds.

    Raises:
        OSError: it cannot be read.
    """
    # the standard library has no public way to look into a certificate that nobody presents
    decoded = ssl._ssl._test_decode_cert(str(cert))  # type: ignore[attr-defined]
    return ssl.cert_time_to_seconds(decoded["notAfter"])


def read_presented_expiry(url: str, settings: ClusterSettings) -> float:
    """When the certificate expires that a node of the cluster shows, in epoch seconds.

    Raises:
        GatewayError: it cannot be reached or is not trusted.
    """
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 443)
    with http1.open_socket(*address, settings.connect_timeout_s, open_tls(settings)) as connection:
        assert isinstance(connection, ssl.SSLSocket)
        presented = connection.getpeercert() or {}
    return ssl.cert_time_to_seconds(str(presented["notAfter"]))

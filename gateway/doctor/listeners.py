"""Knows who may reach the gateway, and whether that is everybody."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from ipaddress import ip_address

from gateway.doctor.cluster import has_credentials
from gateway.doctor.expiry import judge_expiry, read_file_expiry
from gateway.doctor.finding import Finding, hint, ok, problem
from gateway.doctor.surroundings import Surroundings
from gateway.errors import ConfigurationError
from gateway.tls import check_cert


def check_listeners(around: Surroundings) -> Iterator[Finding]:
    """Keys, credentials that everybody gets, and the gateway's own certificates."""
    settings = around.settings
    open_ones = [bind for bind in (settings.bind, settings.rerank_bind) if bind and not is_loopback(bind)]
    where = ", ".join(open_ones)
    if not open_ones:
        yield ok("listeners.reach", "the gateway is reached from this host only")
    elif settings.keys:
        yield ok("listeners.keys", f"{where}: the rerank APIs want a key")
    else:
        what = f"{where}: whoever reaches it may use the rerank APIs"
        yield hint(
            "listeners.keys", what, "set RERANK_GATEWAY_API_KEYS, unless the network lets in only yours"
        )
    if open_ones and has_credentials(around):
        what = f"{where}: whoever reaches it and names nobody has the gateway's rights in the cluster"
        yield hint("listeners.rights", what, "give that user only what everybody may do; see docs/cluster.md")
    if settings.tls_cert:
        try:
            check_cert(settings.tls_cert, settings.tls_key)
            expires = read_file_expiry(settings.tls_cert)
        except (ConfigurationError, ssl.SSLError, OSError) as error:
            yield problem("listeners.certificate", str(error), "correct --tls-cert and --tls-key")
        else:
            yield judge_expiry("listeners.certificate", str(settings.tls_cert), expires, time.time())
    if settings.cluster_client_cert:
        expires, name = read_file_expiry(settings.cluster_client_cert), str(settings.cluster_client_cert)
        yield judge_expiry("cluster.client_certificate", name, expires, time.time())


def is_loopback(bind: str) -> bool:
    """Is ``host:port`` reached from this host only?"""
    host = bind.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

"""Knows TLS: whom to trust on connections to the cluster, and what to show of ourselves on both sides."""

from __future__ import annotations

import hashlib
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

from gateway.errors import ConfigurationError


def make_tls(
    *,
    ca: Path | None = None,
    fingerprint: str | None = None,
    client_cert: Path | None = None,
    client_key: Path | None = None,
) -> ssl.SSLContext:
    """What connections to the cluster need; without arguments, trust in this machine's authorities.

    Args:
        ca: PEM file; only its certificate authorities are trusted.
        fingerprint: SHA-256 of one certificate, 64 hexadecimal digits; only what leads to it is trusted,
            whatever its host names.
        client_cert, client_key: PEM files; the key may stand in the certificate's.

    Raises:
        ConfigurationError: a file is missing or no PEM file of its kind.
    """
    context: ssl.SSLContext
    if fingerprint is not None:
        context = _PinnedContext(bytes.fromhex(fingerprint))
    elif ca is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(ca)
        except OSError as error:  # a subclass where it is no certificate
            raise ConfigurationError(f"--cluster-ca: {ca}: {error.strerror}") from error
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_default_certs()
    if client_cert is not None:
        _load_cert(context, "--cluster-client-cert", client_cert, client_key)
    return context


def check_cert(cert: Path, key: Path | None) -> None:
    """Can clients be shown this certificate?

    Raises:
        ConfigurationError: a file is missing or no PEM file of its kind, or the key is another one's.
    """
    _load_cert(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "--tls-cert", cert, key)


def _load_cert(context: ssl.SSLContext, option: str, cert: Path, key: Path | None) -> None:
    try:
        context.load_cert_chain(cert, key, password=_refuse_password)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{option}: {cert}: {error}") from error


class _PinnedContext(ssl.SSLContext):
    """Trusts one certificate, known by its fingerprint: the server's own or an authority above it.

    Elasticsearch prints the fingerprint of its certificate authority. OpenSSL trusts certificates, not
    fingerprints, so the first connection is preceded by one that looks for the certificate in what the server
    presents, and sends nothing. From then on OpenSSL verifies as ever, with this certificate as only root:
    that it is presented proves nothing, anybody can do that.
    """

    def __new__(cls, fingerprint: bytes) -> _PinnedContext:
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, fingerprint: bytes) -> None:
        self._fingerprint = fingerprint
        self._is_found = False
        self._looking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._looking.check_hostname = False
        self._looking.verify_mode = ssl.CERT_NONE
        self.check_hostname = False
        self.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the root need not be a self-signed one

    def load_cert_chain(self, *args: Any, **kwargs: Any) -> None:
        """See `ssl.SSLContext`; a server may want to see it before it presents anything."""
        super().load_cert_chain(*args, **kwargs)
        self._looking.load_cert_chain(*args, **kwargs)

    def wrap_socket(self, sock: socket.socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """See `ssl.SSLContext`."""
        if not self._is_found:
            self._find_certificate(sock.getpeername()[:2], sock.gettimeout())
        return super().wrap_socket(sock, *args, **kwargs)

    def _find_certificate(self, address: tuple[str, int], timeout_s: float | None) -> None:
        with (
            socket.create_connection(address, timeout_s) as plain,
            self._looking.wrap_socket(plain) as presenting,
        ):
            presented = {hashlib.sha256(found).digest(): found for found in _read_presented(presenting)}
        if self._fingerprint not in presented:
            found = ", ".join(digest.hex() for digest in presented)
            message = f"no certificate has the fingerprint {self._fingerprint.hex()}; presented: {found}"
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, message)
        self.load_verify_locations(cadata=presented[self._fingerprint])  # by two threads at once does no harm
        self._is_found = True


def _read_presented(connection: ssl.SSLSocket) -> list[bytes]:
    """The server's certificates as DER, its own first."""
    if sys.version_info >= (3, 13):
        return connection.get_unverified_chain()
    import _ssl  # the same function before it was made public

    return [
        found.public_bytes(_ssl.ENCODING_DER)
        for found in connection._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
    ]


def _refuse_password() -> str:
    raise ValueError("the key is encrypted; expected one without password")

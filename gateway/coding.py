"""Knows content codings: gzip taken off for reading, within a limit, and put on again."""

from __future__ import annotations

import gzip
import zlib

from werkzeug.http import parse_accept_header

from gateway.errors import GatewayError

GZIP_LEVEL = 3  # what both engines use by default


class UnreadableCodingError(GatewayError):
    """The bytes are not what their Content-Encoding says (the sender's fault)."""


class UnknownCodingError(UnreadableCodingError):
    """A coding other than gzip and identity."""


class TooLargeError(UnreadableCodingError):
    """More bytes than the limit come out."""


def decode(body: bytes, content_encoding: bytes | None, limit_bytes: int | None = None) -> bytes:
    """Undo a content coding.

    Args:
        content_encoding: the header's value; None or empty for none.
        limit_bytes: how many bytes may come out; the rest of a gzip bomb is never inflated.

    Raises:
        UnreadableCodingError: the bytes are damaged, or a subclass says what else.
    """
    coding = (content_encoding or b"identity").strip().lower()
    if coding == b"identity":
        return body
    if coding not in (b"gzip", b"x-gzip"):
        raise UnknownCodingError(coding.decode("latin-1"))
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        inflated = inflater.decompress(body, 0 if limit_bytes is None else limit_bytes + 1)
    except zlib.error as error:
        raise UnreadableCodingError(str(error)) from error
    if limit_bytes is not None and len(inflated) > limit_bytes:
        raise TooLargeError(f"more than {limit_bytes} bytes")
    if not inflater.eof or inflater.unused_data:
        raise UnreadableCodingError("not one whole gzip stream")
    return inflated


def encode(body: bytes, content_encoding: bytes | None) -> bytes:
    """Do again what `decode` undid."""
    is_plain = (content_encoding or b"identity").strip().lower() == b"identity"
    return body if is_plain else gzip.compress(body, GZIP_LEVEL, mtime=0)


def accepts_gzip(accept_encoding: bytes | None) -> bool:
    """Does a client that sent this header read gzip?"""
    return parse_accept_header((accept_encoding or b"").decode("latin-1")).quality("gzip") > 0

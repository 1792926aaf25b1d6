"""Knows how requests to Amazon OpenSearch Service and Serverless are signed (AWS Signature Version 4).

A caller's own signature covers the gateway's host name and cannot hold for the cluster's: it is taken off,
and every request is signed with the gateway's credentials.
"""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from gateway.credentials import Outgoing
from gateway.errors import BodyTooLarge, ClusterUnreachable, ConfigurationError
from gateway.wire import ClientRequest, buffer_body

BODY_LIMIT_BYTES = 100 * 1024 * 1024
"""The most that the service itself accepts, on its larger instances."""


class AwsCredentials:
    """Signs every request.

    botocore finds the credentials where all AWS tools do: environment, profile, role of the container or of
    the instance. Temporary ones are renewed.

    Args:
        url: the one address of the domain or collection.
        region: for example ``eu-central-1``.
        service: ``es`` for domains, ``aoss`` for collections (Serverless).

    Raises:
        ConfigurationError: botocore is not installed or finds no credentials.
    """

    def __init__(self, url: str, *, region: str, service: str) -> None:
        try:
            import botocore.session
            from botocore.exceptions import BotoCoreError
        except ImportError as error:
            raise ConfigurationError("--cluster-aws-region needs botocore: rerank-sidecar[aws]") from error
        self._url = url
        self._region = region
        self._service = service
        try:
            self._credentials: Any = botocore.session.Session().get_credentials()
        except BotoCoreError as error:
            raise ConfigurationError(f"--cluster-aws-region: {error}") from error
        if self._credentials is None:
            raise ConfigurationError("--cluster-aws-region: no AWS credentials found")

    def authorize(self, request: Outgoing) -> Outgoing:
        """See `Credentials`. The body comes back as bytes, and the target as `spell_canonically` gives it.

        Both services take the hash of the body; that its place may be left open (``UNSIGNED-PAYLOAD``) is
        documented for ``aoss`` only, and has not worked for everybody. So a stream is read to its end first.

        Raises:
            ClusterUnreachable: the credentials have expired and new ones cannot be had.
            BodyTooLarge: it is longer than `BODY_LIMIT_BYTES`.
            UnreadableBody: the client's body could not be read to its end.
        """
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError

        whole = buffer_body(ClientRequest(*request), BODY_LIMIT_BYTES)
        if not isinstance(whole.body, bytes):
            raise BodyTooLarge(f"a request that is to be signed may have {BODY_LIMIT_BYTES} bytes")
        target = spell_canonically(request.target)
        # few headers are signed: what something in between changes on its way must not matter
        named = {"Host": urlsplit(self._url).netloc, "X-Amz-Content-SHA256": _hash(whole.body)}
        signed = AWSRequest(request.method, f"{self._url}{target}", headers=named, data=whole.body)
        try:
            credentials = self._credentials.get_frozen_credentials()
        except BotoCoreError as error:
            raise ClusterUnreachable(f"no AWS credentials: {error}") from error
        SigV4Auth(credentials, self._service, self._region).add_auth(signed)
        del signed.headers["Host"]  # written by `Node.send`, the same
        ours = [(name.encode(), value.encode()) for name, value in signed.headers.items()]
        theirs = [(name, value) for name, value in whole.headers if not _is_of_signature(name.lower())]
        return Outgoing(request.method, target, [*theirs, *ours], whole.body)


def spell_canonically(target: str) -> str:
    """The same target in the one spelling that can be signed.

    The service decodes the query and signs its own encoding of it: ``?a,b`` is signed as ``?a%2Cb=``. Sent so
    from the start, it is the same for everyone. The path is signed as it stands, encoded once more.
    """
    path, mark, query = target.partition("#")[0].partition("?")  # OpenSearch reads no further either
    query = query.replace(";", "&")  # both separate for OpenSearch
    pairs = parse_qsl(query, keep_blank_values=True, encoding="latin-1")  # in which any byte survives
    return path + mark + urlencode(pairs, quote_via=quote, safe="~", encoding="latin-1")


def _is_of_signature(name: bytes) -> bool:
    return name == b"authorization" or name.startswith(b"x-amz-")


def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()

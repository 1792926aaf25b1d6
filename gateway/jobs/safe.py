"""Knows how credentials are kept while a job needs them: encrypted, by a key that Redis never sees."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256

from cryptography.fernet import Fernet, InvalidToken

from gateway.errors import GatewayError


class NoSecret(GatewayError):
    """Credentials can't be kept or read: ``--jobs-secret`` is missing or has changed (the operator's)."""


class Safe:
    """Encrypts and decrypts.

    Args:
        secret: any text; empty: nothing can be kept.
    """

    def __init__(self, secret: str) -> None:
        self._fernet = Fernet(urlsafe_b64encode(sha256(secret.encode()).digest())) if secret else None

    def put(self, text: str) -> str:
        """Encrypted.

        Raises:
            NoSecret: there is no key for it.
        """
        if self._fernet is None:
            raise NoSecret("credentials of your own need --jobs-secret on the gateway")
        return self._fernet.encrypt(text.encode()).decode()

    def take(self, token: str) -> str:
        """What was put; empty for nothing.

        Raises:
            NoSecret: it was put by another key.
        """
        if not token:
            return ""
        try:
            if self._fernet is None:
                raise InvalidToken
            return self._fernet.decrypt(token.encode()).decode()
        except InvalidToken:
            raise NoSecret("the job's credentials were kept under another --jobs-secret") from None

"""Knows what can be seen of the rerank API from here; the cluster may see it otherwise."""

from __future__ import annotations

import ipaddress
import json
import socket
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from gateway.registration.options import RegisterSettings
from gateway.registration.talk import CannotRegister

_TIMEOUT_S = 5.0
_PRIVATE_V4 = ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
_PRIVATE_V6 = ("::1", "fc00::/7", "fe80::/10")
_PRIVATE = [ipaddress.ip_network(block) for block in (*_PRIVATE_V4, *_PRIVATE_V6)]


def check_listener(wanted: RegisterSettings) -> str:
    """Does it know the model, and the key? What is told of it, one line.

    Raises:
        CannotRegister: it answers, and does not.
    """
    try:
        status, told = _ask(f"{wanted.url}/v1/models", None, wanted)
        models = {model["id"]: model["served"] for model in told["data"]} if status == 200 else None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)  # of a URLError
        return f"not reached from here ({reason}), so --model and --api-key are not checked from here"
    except (ValueError, KeyError, TypeError):
        models = None
    if models is None:
        raise CannotRegister(f"--url: {wanted.url}/v1/models does not answer as our rerank APIs do")
    if wanted.model not in models:
        declared = ", ".join(models) or "none"
        raise CannotRegister(f"--model: {wanted.model!r} is not declared there; declared: {declared}")
    status, _ = _ask(wanted.rerank_url, {}, wanted)  # a valid key is told that the body lacks all
    if status == 401:
        raise CannotRegister(
            "--api-key: the rerank API refuses it; it must be one of the gateway's --api-keys"
        )
    return "answers" if models[wanted.model] else f"answers, but no worker serves {wanted.model} now"


def find_private(url: str) -> bool | None:
    """Is the address in a private network? None for a name that is not known here."""
    try:
        found = socket.getaddrinfo(urlsplit(url).hostname, None)
    except OSError:
        return None
    addresses = [ipaddress.ip_address(str(address[4][0]).partition("%")[0]) for address in found]
    return any(address in block for address in addresses for block in _PRIVATE)


def _ask(url: str, body: object, wanted: RegisterSettings) -> tuple[int, Any]:
    key = wanted.api_key.get_secret_value()
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    request = Request(url, None if body is None else json.dumps(body).encode(), headers)
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=_TIMEOUT_S) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, None

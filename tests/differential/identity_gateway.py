"""``python -m tests.differential.identity_gateway``: a gateway whose model keeps the cluster's order."""

import sys
from collections.abc import Sequence

from flask import Flask

from gateway.app import create_app
from gateway.scoring import ScriptedScorer
from gateway.settings import GatewaySettings, read_settings
from gateway.wsgi import GatewayServer


def keep_order(query_text: str, passages: Sequence[str]) -> list[float]:
    """Logits that fall from the first passage to the last."""
    return [-0.1 * place for place in range(len(passages))]


class IdentityServer(GatewayServer):
    """The real server; only the scores come from `keep_order` instead of from a worker."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._own_settings = settings
        super().__init__(settings)

    def load(self) -> Flask:
        return create_app(self._own_settings, scorer=ScriptedScorer(keep_order))


if __name__ == "__main__":
    IdentityServer(read_settings(sys.argv[1:])).run()

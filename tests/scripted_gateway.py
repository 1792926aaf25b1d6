"""``python -m tests.scripted_gateway``: the gateway, with models whose opinion is known."""

import sys
from collections.abc import Iterable, Sequence

from flask import Flask

from gateway.app import create_app
from gateway.scoring import ScoreRequest, Scores, ScriptedScorer
from gateway.service import Service
from gateway.settings import GatewaySettings, read_settings
from gateway.wsgi import GatewayServer


def keep_order(query_text: str, passages: Sequence[str]) -> list[float]:
    """The first passage is the best."""
    return [-0.1 * place for place in range(len(passages))]


def reverse_order(query_text: str, passages: Sequence[str]) -> list[float]:
    """The last passage is the best."""
    return [0.1 * place for place in range(len(passages))]


MODELS = {"identity": keep_order, "reverse": reverse_order}


class ScriptedModels:
    """A `Scorer` that asks the script of the model's name."""

    def __init__(self) -> None:
        self._scorers = {model: ScriptedScorer(script) for model, script in MODELS.items()}

    def score(self, request: ScoreRequest) -> Scores:
        return self._scorers[request.model].score(request)

    def find_served(self, models: Iterable[str]) -> frozenset[str]:
        return frozenset(models)

    def observe(self, models: Iterable[str]) -> Sequence[Service]:
        return ()


class ScriptedServer(GatewayServer):
    """The real server; only the scores come from scripts instead of from workers."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._own_settings = settings
        super().__init__(settings)

    def load(self) -> Flask:
        return create_app(self._own_settings, scorer=ScriptedModels())


if __name__ == "__main__":
    ScriptedServer(read_settings(sys.argv[1:])).run()

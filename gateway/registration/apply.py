"""Knows how a plan is carried out, how long its effect may take, and whether scores then come."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.registration.plan import Step
from gateway.registration.present import Present
from gateway.registration.talk import CannotRegister, Talk

_PATIENCE_S = 30.0
_PAUSE_S = 0.2


def carry_out(talk: Talk, steps: Sequence[Step]) -> None:
    """Send all requests, in order.

    Raises:
        CannotRegister: the cluster refuses one; those before it are done, and another run goes on there.
    """
    ids: dict[str, str] = {}
    for step in steps:
        for call in step.calls:
            path = "/".join(ids.get(part, part) for part in call.path.split("/"))
            is_delete = call.method == "DELETE"  # gone already is as good
            answer = talk.ask(call.method, path, _fill(call.body, ids), may_lack=is_delete)
            if call.gives:
                ids[call.gives] = answer[call.gives.strip("<>")]


def wait_until_done(plan: Callable[[], Sequence[Step]]) -> None:
    """Plan again until nothing is left to be done: models are deployed in the background.

    Raises:
        CannotRegister: something is left for half a minute.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while left := [step.part for step in plan() if step.calls]:
        if time.monotonic() > deadline:
            raise CannotRegister(f"sent, but after {_PATIENCE_S:.0f} s it is still not so: {', '.join(left)}")
        time.sleep(_PAUSE_S)


def try_scoring(talk: Talk, present: Present) -> float | None:
    """Have the cluster ask for the score of one pair; None if no model is there yet.

    Raises:
        CannotRegister: it gets none.
    """
    if present.model is None:
        return None
    answer = talk.ask(
        "POST",
        f"/_plugins/_ml/_predict/text_similarity/{present.model.id}",
        {"query_text": "does the cluster reach the rerank API?", "text_docs": ["it does"]},
    )
    return float(answer["inference_results"][0]["output"][0]["data"][0])


def _fill(part: Any, ids: Mapping[str, str]) -> Any:
    if isinstance(part, dict):
        return {name: _fill(value, ids) for name, value in part.items()}
    if isinstance(part, list):
        return [_fill(value, ids) for value in part]
    return ids.get(part, part) if isinstance(part, str) else part

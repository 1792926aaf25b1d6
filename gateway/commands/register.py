"""``python -m gateway register``: flags in, a plan told or carried out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from gateway.cluster import Cluster, open_cluster
from gateway.errors import ConfigurationError, GatewayError
from gateway.registration.apply import carry_out, try_scoring, wait_until_done
from gateway.registration.bodies import Body, make_inference, make_retriever, make_search
from gateway.registration.listener import check_listener, find_private
from gateway.registration.options import RegisterSettings, UnregisterSettings
from gateway.registration.plan import Step, Wanted, plan_register
from gateway.registration.present import look
from gateway.registration.talk import CannotRegister, Talk
from gateway.settings import read_options

Settings = TypeVar("Settings", bound=UnregisterSettings)


def main(argv: Sequence[str], prog: str) -> int:
    """0: all is as wanted, or shown; 1: something stands in the way; 2: an option is wrong."""
    return run(argv, prog, RegisterSettings, _register)


def run(argv: Sequence[str], prog: str, kind: type[Settings], do: Callable[[Settings, Cluster], None]) -> int:
    """Read the options, do it, and tell in one line what stands in the way."""
    try:
        settings = read_options(kind, argv, RegisterSettings)
        cluster = open_cluster(settings, idle_connections=1)
    except ConfigurationError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    try:
        do(settings, cluster)
    except GatewayError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    finally:
        cluster.close()
    return 0


def _register(settings: RegisterSettings, cluster: Cluster) -> None:
    if cluster.find_engine() == "elasticsearch":
        _show_elasticsearch(settings)
        return
    print(f"# rerank API at {settings.url}: {check_listener(settings)}")
    talk, wanted = Talk(cluster), Wanted(settings, find_private(settings.url))

    def plan() -> list[Step]:
        return plan_register(wanted, look(talk, settings.pipeline, settings.index))

    steps = plan()
    show_steps(steps)
    lacking = [word for step in steps for word in step.needs]
    if lacking and settings.apply:
        raise CannotRegister(
            f"nothing was sent: this loosens protections of the cluster, so say --allow {','.join(lacking)}"
        )
    finish(talk, steps, plan, is_applied=settings.apply)
    if settings.apply or not any(step.calls for step in steps):
        score = try_scoring(talk, look(talk, settings.pipeline, None))
        print(f"# tried: the cluster asked for the score of one pair and got {score}")
    print("# a search with it:")
    show_request("POST", *make_search(settings))


def finish(
    talk: Talk, steps: Sequence[Step], plan: Callable[[], Sequence[Step]], *, is_applied: bool
) -> None:
    """Carry a shown plan out, or say why not."""
    if not any(step.calls for step in steps):
        print("# nothing to change")
    elif is_applied:
        carry_out(talk, steps)
        wait_until_done(plan)
        print("# done")
    else:
        print("# nothing was sent; --apply sends this")


def show_steps(steps: Sequence[Step]) -> None:
    """What is to be done about each part, and which parts are as they should be."""
    changed = [step for step in steps if step.calls]
    for step in changed:
        needs = f" (needs --allow {','.join(step.needs)})" if step.needs else ""
        print(f"# {step.part}{needs}:")
        for call in step.calls:
            show_request(call.method, call.path, call.body)
    if kept := {step.part: None for step in steps if step.part not in [one.part for one in changed]}:
        print(f"# as it should be: {', '.join(kept)}")


def show_request(method: str, path: str, body: Body | None = None) -> None:
    """As it would be sent, but secrets are asterisks."""
    print(f"{method} {path}")
    if body is not None:
        print(json.dumps(body, indent=2, ensure_ascii=False, default=str))


def _show_elasticsearch(settings: RegisterSettings) -> None:
    print("# Elasticsearch asks by an inference endpoint of the service 'custom' (8.19 or later, Enterprise")
    print("# licence). Nothing was sent; send this yourself, a key in the place of its asterisks.")
    show_request("PUT", *make_inference(settings))
    print("# a search with it:")
    show_request("POST", *make_retriever(settings))
    if settings.apply:
        raise CannotRegister("--apply is for OpenSearch only")

"""``python -m gateway unregister``: flags in, a plan told or carried out."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.cluster import Cluster
from gateway.commands.register import finish, run, show_steps
from gateway.registration.options import UnregisterSettings
from gateway.registration.plan import Step, plan_unregister
from gateway.registration.present import look
from gateway.registration.talk import CannotRegister, Talk


def main(argv: Sequence[str], prog: str) -> int:
    """0: nothing of it is left, or shown; 1: something stands in the way; 2: an option is wrong."""
    return run(argv, prog, UnregisterSettings, _unregister)


def _unregister(settings: UnregisterSettings, cluster: Cluster) -> None:
    if cluster.find_engine() == "elasticsearch":
        raise CannotRegister("the cluster is Elasticsearch, where register makes nothing")
    talk = Talk(cluster)

    def plan() -> list[Step]:
        return plan_unregister(settings.pipeline, look(talk, settings.pipeline, "_all"))

    steps = plan()
    show_steps([step for step in steps if step.calls])
    finish(talk, steps, plan, is_applied=settings.apply)

"""Runs the demo: honcho keeps the processes, a thread tells the story, and nothing is left behind."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from demo.errors import DemoError
from demo.processes import LogPrinter, PatientManager, Plan, make_manager, make_plan

LOG_LINES = 15

Tell = Callable[[Plan], None]
"""What is done once all processes are started: `demo.story.tell`, or another."""


class Story(threading.Thread):
    """Tells the story beside the processes; ends them when it fails, or when it was only a check."""

    def __init__(
        self, tell: Tell, plan: Plan, check: bool, printer: LogPrinter, manager: PatientManager
    ) -> None:
        super().__init__(daemon=True)
        self._tell = tell
        self._plan = plan
        self._check = check
        self._printer = printer
        self._manager = manager
        self.error: Exception | None = None
        self.is_told = False

    def run(self) -> None:
        try:
            self._tell(self._plan)
            self.is_told = True
        except Exception as error:  # the thread's edge: `run` tells it to the user
            if not self._printer.is_ending:  # else it is only that the processes are gone
                self.error = error
        if self._check or self.error:
            self._manager.terminate()
        elif self.is_told:
            print("Ctrl-C ends everything.", flush=True)


def run(tell: Tell, state: Path, adapter: Path, check: bool, verbose: bool) -> int:
    """Start everything and stay until Ctrl-C or SIGTERM, or with `check` until the story is told.

    Returns:
        0 when the story was told to its end, 1 when something failed, 130 when it was interrupted before.

    Raises:
        DemoError: what is needed to start is missing.
    """
    plan = make_plan(os.environ, state, adapter)
    printer = LogPrinter(plan, verbose)
    manager = make_manager(plan, printer)
    story = Story(tell, plan, check, printer, manager)
    printer.when_started = lambda: manager.terminate() if manager.is_end_wanted else story.start()
    manager.loop()
    return read_outcome(plan, story, printer)


def read_outcome(plan: Plan, story: Story, printer: LogPrinter) -> int:
    if printer.died:
        name = printer.died.split()[0]
        raise DemoError(f"{printer.died}; the end of its log {plan.log(name)}:\n{read_end(plan.log(name))}")
    if isinstance(story.error, DemoError):
        raise story.error
    if story.error:
        raise DemoError(
            f"{type(story.error).__name__}: {story.error}; logs: {plan.log('*')}"
        ) from story.error
    return 0 if story.is_told else 130


def read_end(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-LOG_LINES:])

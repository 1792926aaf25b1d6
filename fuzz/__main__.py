"""``python -m fuzz [--minutes N] [target ...]``: one target after the other, each in a process of its own.

With ``atheris`` installed the inputs are led by which lines they reach, without it they are only random.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5, help="for each target (5)")
    parser.add_argument("targets", nargs="*", metavar="target")
    asked = parser.parse_args()
    from fuzz.targets import TARGETS

    unknown = set(asked.targets) - TARGETS.keys()
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    failed = []
    for name in asked.targets or TARGETS:
        started = time.monotonic()
        command = [sys.executable, "-m", "fuzz.one", name, str(asked.minutes * 60)]
        status = subprocess.run(command, check=False).returncode
        print(
            f"{name}: {'failed' if status else 'nothing found'} in {time.monotonic() - started:.0f} s",
            flush=True,
        )
        failed += [name] if status else []
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())

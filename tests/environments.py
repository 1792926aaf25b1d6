"""What tests fetch and build once, each in a folder of its own under var/."""

import fcntl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo import settings

LOCK = settings.ROOT / "var" / "engines" / ".lock"
"""That of deploy/engines/start.sh: Maven's own folder is filled by one process at a time too."""


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Whoever else fetches or builds, in another of the processes that run tests, waits."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@one_at_a_time()
def prepare_environment(folder: Path, requirements: Path) -> Path:
    """The interpreter of an environment with them, made anew when they have changed."""
    wanted = requirements.read_text()
    python = folder / "bin" / "python"
    installed = folder / "installed.txt"
    if not installed.exists() or installed.read_text() != wanted:
        uv = [str(Path(sys.executable).parent / "uv")]
        subprocess.run(
            [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True
        )
        install = ["pip", "install", "--quiet", "--python", str(python), "--requirement", "-"]
        subprocess.run([*uv, *install], input=wanted, text=True, check=True)
        installed.write_text(wanted)
    return python

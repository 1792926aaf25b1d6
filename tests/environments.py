"""Environments of their own for what does not go together with the product's dependencies."""

import subprocess
import sys
from pathlib import Path


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

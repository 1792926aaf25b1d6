"""Fetches what the engines publish of their APIs and the tests of them, from Maven Central."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from demo import settings
from tests.environments import one_at_a_time

COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
FOLDER = settings.ROOT / "var" / "specs"


@one_at_a_time()
def fetch_spec(group: str, version: str) -> Path:
    """The jar ``rest-api-spec`` of this version, kept from the last time; skips the test without Maven."""
    jar = FOLDER / f"{group}-{version}.jar"
    if not jar.exists():
        if not shutil.which("mvn"):
            pytest.skip("Maven is missing. On Debian or Ubuntu: sudo apt-get install maven")
        artifact = f"-Dartifact={group}:rest-api-spec:{version}"
        subprocess.run(["mvn", "-B", "-q", COPY, artifact, f"-DoutputDirectory={FOLDER / group}"], check=True)
        (FOLDER / group / f"rest-api-spec-{version}.jar").rename(jar)
    return jar

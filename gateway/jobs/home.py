"""Knows the folder of all jobs: which it is, and where in it a job's own is."""

from __future__ import annotations

import uuid
from pathlib import Path

from gateway.errors import ConfigurationError
from gateway.jobs.spool import Spool


class Home:
    """A folder with a folder a job; its id tells the jobs whose files are here from those of other folders.

    Raises:
        ConfigurationError: it can't be written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        mark = folder / "home"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not mark.exists():
                part = folder / f"home.{uuid.uuid4().hex}"
                part.write_text(uuid.uuid4().hex, encoding="ascii")
                try:
                    mark.hardlink_to(part)  # whoever comes first
                except FileExistsError:
                    pass
                finally:
                    part.unlink()
            self.id = mark.read_text(encoding="ascii")
        except OSError as error:
            raise ConfigurationError(f"--jobs-folder: {folder}: {error.strerror}") from error

    def spool(self, job_id: str) -> Spool:
        """The job's own folder, made or not."""
        return Spool(self._folder / job_id)

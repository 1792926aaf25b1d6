"""Knows a folder of one model's versions: each stays as it was added, and one of them is live; loads none."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from rerankers.detection import ADAPTER_CONFIG_FILE, CONFIG_FILE
from rerankers.errors import BadVersion
from rerankers.hub import is_local

VERSION_FILE = "version.json"
"""In a version's own folder: what it is. It is no file of the model."""

_LIVE_FILE, _LOCK_FILE = "live.json", ".lock"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HASH_CHARS = 12
_PIECE_BYTES = 1024 * 1024
_BASE = "base_model_name_or_path"


@dataclass(frozen=True)
class Version:
    """What is known of a version.

    Attributes:
        created: when it was added, in ISO 8601.
        source: the folder that it was copied from.
        base: of an adapter: the model that it is laid over, a folder or a name on the hub.
        files: the SHA-256 of each file by its name.
        metadata: whatever was said of it, such as figures of an evaluation.
    """

    name: str
    created: str
    source: str
    base: str | None
    files: Mapping[str, str]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The version that a folder holds; None where it is none.

        Raises:
            BadVersion: its description is damaged.
        """
        file = folder / VERSION_FILE
        if not file.is_file():
            return None
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise BadVersion(f"{file}: damaged: {error}") from error

    def find_damage(self, folder: Path) -> list[str]:
        """What differs from what was added, a sentence a file; reads all of them."""
        there = set(_list_files(folder))
        damage = [f"{name}: is missing" for name in sorted(self.files.keys() - there)]
        damage += [f"{name}: was not added with it" for name in sorted(there - self.files.keys())]
        for name in sorted(there & self.files.keys()):
            with (folder / name).open("rb") as content:
                if hashlib.file_digest(content, "sha256").hexdigest() != self.files[name]:
                    damage.append(f"{name}: has changed")
        return damage


@dataclass(frozen=True)
class Change:
    """A version became the live one."""

    version: str
    at: str
    by: Literal["promote", "rollback"]


class Versions:
    """The versions in a folder; several processes may change it at the same time.

    Whoever reads which one is live always finds one that is whole: folders and the file that says it are
    put in place by renaming.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @property
    def live(self) -> str | None:
        """The version to serve; None before the first was promoted."""
        return next(reversed(self._promoted()), None)

    @property
    def before(self) -> str | None:
        """Where a rollback leads: what was live before, and is still there; None if nothing is."""
        live, promoted = self.live, reversed(self._promoted())
        return next((name for name in promoted if name != live and self._has(name)), None)

    def names(self) -> list[str]:
        """All versions, the oldest first."""
        found = [self.find(file.parent.name) for file in self.folder.glob(f"[!.]*/{VERSION_FILE}")]
        return [
            version.name for version in sorted(found, key=lambda version: (version.created, version.name))
        ]

    def history(self) -> list[Change]:
        """Every promotion and rollback, the oldest first.

        Raises:
            BadVersion: the file that tells it is damaged.
        """
        file = self.folder / _LIVE_FILE
        try:
            return [Change(**change) for change in json.loads(file.read_text(encoding="utf-8"))["history"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BadVersion(f"{file}: can't be read: {error}") from error

    def locate(self, name: str) -> Path:
        """The folder of a version, which is a model's or an adapter's.

        Raises:
            BadVersion: there is none of this name.
        """
        if not self._has(name):
            found = sorted(file.parent.name for file in self.folder.glob(f"[!.]*/{VERSION_FILE}"))
            there = ", ".join(found) or "none"
            raise BadVersion(f"{self.folder}: has no version {name!r}; there are: {there}")
        return self.folder / name

    def find(self, name: str) -> Version:
        """What is known of a version.

        Raises:
            BadVersion: there is none of this name, or its description is damaged.
        """
        version = Version.read(self.locate(name))
        assert version  # or it would not have been located
        return version

    def add(
        self,
        source: str | Path,
        name: str | None = None,
        base: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Version:
        """Copy a model's or an adapter's folder, without the folders in it.

        Args:
            name: default: the first digits of the hash of its files' content.
            base: the model that an adapter is laid over, where that is not what its files say.

        Raises:
            BadVersion: there is a version of this name, or the source is neither.
        """
        source = Path(source)
        kind = next((file for file in (CONFIG_FILE, ADAPTER_CONFIG_FILE) if (source / file).is_file()), None)
        if kind is None:
            raise BadVersion(f"{source}: has neither {CONFIG_FILE} nor {ADAPTER_CONFIG_FILE}")
        if name is not None and not _NAME.fullmatch(name):
            raise BadVersion(f"{name!r}: expected letters, digits, '.', '_', '-', at most 64 characters")
        replaced = {}
        base, names_base = _settle_base(source, base, is_adapter=kind == ADAPTER_CONFIG_FILE)
        if names_base is not None:
            replaced[ADAPTER_CONFIG_FILE] = names_base
        self.folder.mkdir(parents=True, exist_ok=True)
        copy = self.folder / f".adding-{uuid.uuid4().hex}"
        copy.mkdir()
        try:
            files = {
                file: _copy(source / file, copy / file, replaced.get(file)) for file in _list_files(source)
            }
            version = Version(
                name=name or _hash_all(files),
                created=_now(),
                source=str(source.absolute()),
                base=base,
                files=files,
                metadata=dict(metadata or {}),
            )
            _write_json(copy / VERSION_FILE, asdict(version))
            with self._locked():
                if (self.folder / version.name).exists():
                    raise BadVersion(f"{self.folder}: there is a version {version.name} already")
                copy.rename(self.folder / version.name)
        except BaseException:
            shutil.rmtree(copy, ignore_errors=True)
            raise
        return version

    def verify(self, name: str) -> list[str]:
        """What differs from what was added; nothing where all is well."""
        return self.find(name).find_damage(self.folder / name)

    def promote(self, name: str) -> None:
        """Make it the live one.

        Raises:
            BadVersion: there is none of this name, or it has changed since it was added.
        """
        with self._locked():
            self._go_live(name, "promote")

    def rollback(self) -> str:
        """Make the one live again that was before; its name.

        Raises:
            BadVersion: there was none, or it has changed since it was added.
        """
        with self._locked():
            before = self.before
            if before is None:
                raise BadVersion(f"{self.folder}: no version was live before {self.live or 'now'}")
            self._go_live(before, "rollback")
            return before

    def remove(self, name: str) -> None:
        """Delete a version.

        Raises:
            BadVersion: there is none of this name, or it is the live one.
        """
        with self._locked():
            folder = self.locate(name)
            if name == self.live:
                raise BadVersion(f"{self.folder}: {name} is live; promote another one first")
            gone = self.folder / f".removing-{uuid.uuid4().hex}"
            folder.rename(gone)
        shutil.rmtree(gone)

    def _go_live(self, name: str, by: Literal["promote", "rollback"]) -> None:
        if damage := self.verify(name):
            raise BadVersion(f"{self.folder / name}: {'; '.join(damage)}")
        if name == self.live:
            return
        history = [*self.history(), Change(name, _now(), by)]
        written = self.folder / f".{_LIVE_FILE}"
        _write_json(written, {"live": name, "history": [asdict(change) for change in history]})
        written.replace(self.folder / _LIVE_FILE)

    def _has(self, name: str) -> bool:
        return bool(_NAME.fullmatch(name)) and (self.folder / name / VERSION_FILE).is_file()

    def _promoted(self) -> list[str]:
        """What was promoted and not rolled back, the live one last."""
        promoted: list[str] = []
        for change in self.history():
            if change.by == "rollback" and change.version in promoted:
                while promoted[-1] != change.version:
                    promoted.pop()
            else:
                promoted.append(change.version)
        return promoted

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else changes the folder meanwhile; the kernel opens the lock of a process that dies."""
        if not self.folder.is_dir():
            raise BadVersion(f"{self.folder}: no such folder")
        with (self.folder / _LOCK_FILE).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _list_files(folder: Path) -> list[str]:
    """The names of a model's files: not of hidden ones, nor of the checkpoints' folders of a training."""
    names = (file.name for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    return sorted(name for name in names if name != VERSION_FILE)


def _settle_base(source: Path, base: str | None, *, is_adapter: bool) -> tuple[str | None, bytes | None]:
    """An adapter's base model, found from any working directory, and the configuration that names it so."""
    if not is_adapter:
        if base is not None:
            raise BadVersion(f"--base: {source} is a whole model, no adapter")
        return None, None
    try:
        config = json.loads((source / ADAPTER_CONFIG_FILE).read_text(encoding="utf-8"))
        named = base or config.get(_BASE)
    except (ValueError, AttributeError) as error:
        raise BadVersion(f"{source / ADAPTER_CONFIG_FILE}: damaged: {error}") from error
    if not named:
        raise BadVersion(f"{source}: the adapter names no base model; name it: --base")
    if is_local(named):
        if not Path(named).is_dir():
            raise BadVersion(f"{source}: its base model {named} is no folder here; name it: --base")
        named = str(Path(named).absolute())
    if named == config.get(_BASE):
        return named, None
    return named, json.dumps({**config, _BASE: named}, indent=2).encode()


def _copy(source: Path, target: Path, replaced: bytes | None) -> str:
    """Copy a file, or write what replaces it, for reading only; its SHA-256."""
    digest = hashlib.sha256()
    with source.open("rb") as original, target.open("wb") as copy:
        pieces = [replaced] if replaced is not None else iter(lambda: original.read(_PIECE_BYTES), b"")
        for piece in pieces:
            digest.update(piece)
            copy.write(piece)
        copy.flush()
        os.fsync(copy.fileno())
    target.chmod(0o444)
    return digest.hexdigest()


def _hash_all(files: Mapping[str, str]) -> str:
    told = "".join(f"{name} {digest}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(told.encode()).hexdigest()[:_HASH_CHARS]


def _write_json(file: Path, content: object) -> None:
    with file.open("w", encoding="utf-8") as text:
        json.dump(content, text, indent=2, ensure_ascii=False)
        text.flush()
        os.fsync(text.fileno())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")

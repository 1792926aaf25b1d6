"""Where a model's files are: in a local folder, or on the hub under a name; reads none of them."""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from rerankers.errors import BadArgument, BadCheckpoint

MODEL_FILES = ("*.json", "*.safetensors", "*.bin", "*.model")


@dataclass(frozen=True)
class HubAccess:
    """How files that are not in a local folder are found, and whether code among them may run.

    Args:
        cache_dir: where files from the hub are kept; None is the hub's own choice.
        revision: branch, tag or commit on the hub; None is the main branch.
        only_fetched: ask the hub nothing, look only for what was fetched before.
    """

    trust_remote_code: bool = False
    cache_dir: str | None = None
    revision: str | None = None
    only_fetched: bool = False


DEFAULT_ACCESS = HubAccess()


def find_file(path: str, name: str, access: HubAccess) -> Path | None:
    """One file of a model, fetched where it is on the hub; None when the model has none of that name.

    Raises:
        BadArgument: there is no such folder, and the hub can't be asked or knows no such model.
    """
    if is_local(path):
        file = Path(path) / name
        return file if file.is_file() else None
    try:
        return Path(
            hf_hub_download(
                path,
                name,
                cache_dir=access.cache_dir,
                revision=access.revision,
                local_files_only=access.only_fetched,
            )
        )
    except (OSError, ValueError, EntryNotFoundError) as error:
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            return None
        raise BadArgument(
            f"{path!r}: is no folder, and the hub could not be asked for its {name} ({error}); check the path"
        ) from error


def find_folder(path: str, access: HubAccess) -> str:
    """The local folder of a model, fetched where it is on the hub.

    Raises:
        OSError, ValueError: it can't be fetched.
    """
    if is_local(path):
        return path
    return snapshot_download(
        path, cache_dir=access.cache_dir, revision=access.revision, allow_patterns=list(MODEL_FILES)
    )


def is_local(path: str) -> bool:
    """Tell a folder, there or not, from the name of a model on the hub (``name`` or ``owner/name``)."""
    looks_local = path.startswith((".", "/", "~")) or path.count("/") > 1 or not path
    return looks_local or Path(path).is_dir()


def refuse_missing_folder(path: str) -> None:
    """Raise BadCheckpoint for what is neither a folder nor a name that the hub may know."""
    if is_local(path) and not Path(path).is_dir():
        raise BadCheckpoint(f"{path!r}: no such folder")

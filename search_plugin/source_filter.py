"""The engines' `_source` parameter: which fields come with a hit's source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_plugin.wildcards import matches


@dataclass(frozen=True, slots=True)
class SourceFilter:
    """What is left of `_source`.

    Attributes:
        includes: patterns of paths, ``*`` for any characters; none for all.
        excludes: the same for what goes.
        is_off: nothing is left.
    """

    includes: Sequence[str] = ()
    excludes: Sequence[str] = ()
    is_off: bool = False

    @property
    def is_whole(self) -> bool:
        """All of it is there."""
        return not (self.includes or self.excludes or self.is_off)

    def keeps(self, field: str) -> bool:
        """Is a field surely there, if the document has it?"""
        names = field.split(".")
        paths = [
            ".".join(names[:count]) for count in range(1, len(names) + 1)
        ]  # an object brings what is in it
        return not self.is_off and (
            (not self.includes or any(matches(path, name) for path in paths for name in self.includes))
            and not any(matches(path, name) for path in paths for name in self.excludes)
        )


def read_source_filter(parameters: Mapping[str, str], body: Mapping[str, Any]) -> SourceFilter:
    """Read it from a search; its parameters overrule its body, as the engines have it."""
    in_url = {name: value for name, value in parameters.items() if name.startswith("_source")}
    if in_url:
        asked: Any = in_url.get("_source", "true")
        wanted = {"true": True, "false": False}.get(asked, asked.split(","))
        if wanted is False:
            return SourceFilter(is_off=True)
        includes = [] if wanted is True else wanted
        includes += _split(in_url.get("_source_includes"))
        return SourceFilter(includes, _split(in_url.get("_source_excludes")))
    asked = body.get("_source")
    if (asked is None and not body.keys().isdisjoint(_INSTEAD_OF_SOURCE)) or "stored_fields" in parameters:
        return SourceFilter(is_off=True)
    return _read_in_body(True if asked is None else asked)


_INSTEAD_OF_SOURCE = frozenset({"stored_fields", "script_fields"})


def _read_in_body(asked: Any) -> SourceFilter:
    if asked in (True, "true"):
        return SourceFilter()
    if isinstance(asked, dict):
        includes, excludes = (
            _as_names(asked.get(f"{name}s", asked.get(name))) for name in ("include", "exclude")
        )
        return SourceFilter(includes, excludes)
    return SourceFilter(_as_names(asked), is_off=not isinstance(asked, str | list) or asked == "false")


def _as_names(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [name for name in values if isinstance(name, str)]


def _split(value: str | None) -> list[str]:
    return value.split(",") if value else []

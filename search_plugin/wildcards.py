"""Patterns of names as the engines have them: ``*`` stands for any characters, all else for itself."""

from fnmatch import fnmatchcase


def matches(name: str, pattern: str) -> bool:
    """Does a pattern match a whole name, letter case included?"""
    if "*" not in pattern:
        return name == pattern
    return fnmatchcase(name, pattern.replace("[", "[[]").replace("?", "[?]"))

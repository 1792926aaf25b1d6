"""What can go wrong in this package: one base class, one class per thing a caller would do differently."""


class RelevanceError(Exception):
    """Base of every error that this package raises on purpose."""


class BadFile(RelevanceError, ValueError):
    """A file can't be used as what it was given for (names the file, and the line or place in it)."""


class BadChoice(RelevanceError, ValueError):
    """A measure, format or number that can't be used (the caller's mistake; names it)."""


class MissingLibrary(RelevanceError, ImportError):
    """What measures or draws is not installed (says how it is)."""

"""What can go wrong in this package: one base class, one class per thing a caller would do differently."""


class RerankerError(Exception):
    """Base of every error that this package raises on purpose."""


class BadPairs(RerankerError, ValueError):
    """The pairs handed in are not (query, passage) texts (the caller's mistake; says which one)."""


class BadArgument(RerankerError, ValueError):
    """An argument has a value that can't be used (the caller's mistake; names the argument)."""


class BadCheckpoint(RerankerError, OSError):
    """A model or adapter can't be loaded as what it was asked to be (names the folder and the reason)."""


class BadScore(RerankerError, ArithmeticError):
    """The model gave a pair something that is no number (its weights or its precision are at fault)."""


class DeviceDied(RerankerError, RuntimeError):
    """The process of one of several devices ended; the call is lost, the next one starts another."""


class BadTrainingFile(RerankerError, ValueError):
    """A line of a training file can't be used (names file and line)."""


class BadVersion(RerankerError, ValueError):
    """A version of a model is not there, has changed, or can't be given up (names folder and version)."""

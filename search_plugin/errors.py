"""What can go wrong in this package, one class per thing a caller would do differently."""


class SearchPluginError(Exception):
    """Base of every error that this package raises on purpose."""


class UnreadableAnswer(SearchPluginError):
    """The answer does not have the shape of a search answer (the cluster's doing, or a proxy's)."""

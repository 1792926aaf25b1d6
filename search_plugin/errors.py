"""What can go wrong in this package, one class per thing a caller would do differently."""


class SearchPluginError(Exception):
    """Base of every error that this package raises on purpose."""


class UnreadableAnswer(SearchPluginError):
    """The answer does not have the shape of a search answer (the cluster's doing, or a proxy's)."""


class BadAsk(SearchPluginError):
    """What the request asks of us is wrong (the client's fault).

    Attributes:
        place: where it stands: a path in the body, or the name of a parameter or a header.
    """

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"[{place}] {problem}")
        self.place = place
        self.problem = problem

    def inside(self, outer: str) -> "BadAsk":
        """The same error, its place seen from further out."""
        return BadAsk(f"{outer}.{self.place}", self.problem)

"""What can go wrong in the demo that a user can mend; each is told in one line."""


class DemoError(Exception):
    """The demo can't go on; the message says why and what to do."""


class JudgmentsError(DemoError):
    """A file of judged queries is malformed (its author's mistake)."""

"""The errors a person sees: one to three lines each, with an exit code."""

import difflib
from collections.abc import Iterable


class FerError(Exception):
    """Something the user can mend: says what is wrong, where, and the cure. Exit code 1."""

    exit_code = 1


class Faults(FerError):
    """Several things that the user can mend, a line each, found at once; `heading` says of what."""

    def __init__(self, faults: Iterable[str], heading: str = ""):
        lines = [line for fault in dict.fromkeys(faults) for line in fault.splitlines()]
        super().__init__("\n".join([heading] * (heading != "" and len(lines) > 1) + lines))


class UsageError(FerError):
    """A wrong command line. Exit code 2."""

    exit_code = 2


class Interrupted(FerError):
    """Stopped by a signal with the work saved. Exit code 130 (SIGINT) or 143 (SIGTERM)."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean X?)`, or nothing where no known name is near."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f" (did you mean {by_lower[found[0]]}?)" if found else ""

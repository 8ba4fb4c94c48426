"""Errors that a person can act on."""

from collections.abc import Sequence


class InputError(ValueError):
    """Bad input: a parameter, a file or an archive is not what it has to be.

    The message is one paragraph that names the file or the key, says what was expected,
    and says what to do. Command lines print it alone, without a traceback, and exit with 1.
    """


def first_of(problems: Sequence[str], shown: int = 5) -> str:
    """The first of many problems, a line each, and how many more there are."""
    lines = [f"  {problem}" for problem in problems[:shown]]
    more = len(problems) - shown
    return "\n".join(lines + ([f"  and {more} more"] if more > 0 else []))

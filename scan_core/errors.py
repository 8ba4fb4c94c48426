"""Errors that a person can act on."""

import difflib
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


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


def nearest(word: str, known: Iterable[Any]) -> str:
    """` (did you mean '...'?)`, if a known name is near enough to a word."""
    found = difflib.get_close_matches(word, [str(k) for k in known], n=1, cutoff=0.6)
    return f" (did you mean '{found[0]}'?)" if found else ""


def worded(problem: Mapping[str, Any], known: Sequence[str] = ()) -> str:
    """One of pydantic's problems as `<path of the key>: <what is wrong>`.

    Args:
        problem: of `ValidationError.errors()`; marks such as `[key]` are no part of the path.
        known: the keys that are allowed beside one that is not.
    """
    path = [str(part) for part in problem["loc"] if not str(part).startswith("[")]
    match problem["type"]:
        case "extra_forbidden":
            text = f"unknown key{nearest(path[-1], known)}; allowed here: {', '.join(known)}"
        case "missing":
            text = "this key is missing"
        case "value_error":
            text = str(problem["ctx"]["error"])
        case _:
            text = f"{problem['msg']}, got {reprlib.repr(problem['input'])}"
    return f"{'.'.join(path)}: {text}" if path else text

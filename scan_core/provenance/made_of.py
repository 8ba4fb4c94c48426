"""What a result was made of, in a file beside it: a result of something else is made again.

A workflow engine remembers what it ran. Its memory can be deleted, or results copied to where it
has none. The truth lies with the result.
"""

from pathlib import Path


def set_aside_if_other(record: Path, wanted: str) -> bool:
    """Let a record stand only where it says what its result would be made of now.

    A record that says something else is renamed, so that it is missing and its result is made
    again; one that had been set aside, and is right again, gets its name back.

    Args:
        record: `made_of.json` beside a result.
        wanted: its text, if the result were made now.

    Returns:
        whether a right record is there.
    """
    aside = record.with_suffix(f".other{record.suffix}")
    if _text(record) == wanted:
        return True
    if record.exists():
        record.replace(aside)
        return False
    if _text(aside) == wanted:
        aside.replace(record)
        return True
    return False


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None

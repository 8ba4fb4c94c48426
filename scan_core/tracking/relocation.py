"""The store of a project that was moved or copied: its files are those that lie beside it now.

MLflow keeps absolute paths of files in its database. Without this, a copy of the project would
write into the original's `mlruns`, and a moved one would find nothing.
"""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

_PATHS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def relocate(database: Path) -> list[str]:
    """Let everything in a store that lies in another folder's `mlruns` lie in that beside it.

    Args:
        database: `mlflow.db` in the project's root; one that does not exist is left alone.

    Returns:
        the other folders, as addresses.

    Raises:
        OSError: the file is damaged, or another process holds it.
    """
    if not database.is_file():
        return []
    try:
        others = _relocate(database)
    except sqlite3.Error as error:
        raise OSError(str(error)) from None
    for other in others:
        logging.info("%s came from %s: its files are now those beside it", database, other)
    return others


def _relocate(database: Path) -> list[str]:
    here = (database.parent / "mlruns").absolute().as_uri()
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if "experiments" not in tables:
            return []
        found = connection.execute(
            "SELECT name, artifact_location FROM experiments WHERE name LIKE 'scan/%'"
        ).fetchall()
        others = {
            location.removesuffix(f"/{name.removeprefix('scan/')}")
            for name, location in found
            if location.startswith("file:")
        } - {here}
        for other in others:
            for table, column in _PATHS:
                if table in tables:
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE substr({column}, 1, ?) = ?",
                        (here, len(other) + 1, len(other) + 1, f"{other}/"),
                    )
    return sorted(others)

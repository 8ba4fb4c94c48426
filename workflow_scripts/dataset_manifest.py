"""Write the dataset manifest: archives or layouts with their hashes, benchmarks with theirs."""

import logging
from pathlib import Path

from scan_core.params.command_line import run
from scan_core.params.data_names import name_of
from scan_core.storage.files import json_digest, read_json, write_json


def dataset_manifest(
    source: str, verifications: list[Path], output: Path, records: list[Path] | None = None
) -> None:
    """Write the dataset manifest: archives or layouts with their hashes, benchmarks with theirs.

    Args:
        source: `datasets.source` of the recipe.
        verifications: verification.json of each benchmark.
        output: JSON file to write.
        records: a JSON file for each extracted archive or generated layout.
    """
    contents = {
        "source": source,
        "raw": {path.stem: read_json(path) for path in records or []},
        "benchmarks": {name_of(path.parent.name): read_json(path) for path in verifications},
    }
    digest = json_digest(contents)[:12]
    write_json(output, {"hash": digest, **contents})
    logging.info("dataset manifest %s: %d benchmarks", digest, len(verifications))


if __name__ == "__main__":
    run(dataset_manifest)

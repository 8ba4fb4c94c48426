"""Write the dataset manifest: archives or layouts with their hashes, benchmarks with theirs."""

import hashlib
import json
import logging
from pathlib import Path

from scan_core.params.command_line import run
from scan_core.storage.atomic import write_text
from scan_core.storage.records import read_record


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
        "raw": {path.stem: read_record(path) for path in records or []},
        "benchmarks": {path.parent.name: read_record(path) for path in verifications},
    }
    digest = hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()[:12]
    write_text(output, json.dumps({"hash": digest, **contents}, indent=1) + "\n")
    logging.info("dataset manifest %s: %d benchmarks", digest, len(verifications))


if __name__ == "__main__":
    run(dataset_manifest)

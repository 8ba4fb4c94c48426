"""The dataset manifest: from what, and into what, the benchmarks were made."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scan_core.params.data_names import name_of
from scan_core.storage.records import read_record, write_record


def write_manifest(
    source: str, records: Sequence[Path], verifications: Sequence[Path], output: Path
) -> str:
    """Collect the records of raw data and the verification of every benchmark in one file.

    Args:
        source: `datasets.source` of the recipe.
        records: a JSON file for each extracted archive or generated layout.
        verifications: `verification.json` of each benchmark.
        output: the manifest to write.

    Returns:
        the manifest's hash: 12 hexadecimal digits over everything it says.

    Raises:
        InputError: a record or a verification cannot be read.
    """
    contents: dict[str, Any] = {
        "source": source,
        "raw": {path.stem: read_record(path) for path in records},
        "benchmarks": {name_of(path.parent.name): read_record(path) for path in verifications},
    }
    canonical = json.dumps(contents, sort_keys=True).encode()
    digest = hashlib.sha256(canonical).hexdigest()[:12]
    write_record(output, {"hash": digest, **contents})
    return digest

"""Write the dataset manifest: archives or layouts with their hashes, benchmarks with theirs."""

import argparse
import logging
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.datasets.manifest import write_manifest


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--source", required=True, help="datasets.source of the recipe")
    result.add_argument("--records", nargs="*", type=Path, default=[], help="raw data records")
    result.add_argument("--verifications", nargs="+", type=Path, required=True)
    result.add_argument("--output", type=Path, required=True, help="the manifest to write")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Write the manifest and log its hash."""
    digest = write_manifest(
        arguments.source, arguments.records, arguments.verifications, arguments.output
    )
    logging.info("dataset manifest %s: %d benchmarks", digest, len(arguments.verifications))


if __name__ == "__main__":
    run(parser(), main)

"""Extract one archive into the raw data and record what it was and how many files it held."""

import argparse
import json
import logging
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.datasets.download.archives import ARCHIVES
from scan_core.datasets.download.extraction import extract
from scan_core.storage.atomic import write_text
from scan_core.storage.records import read_record


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("--name", required=True, choices=ARCHIVES, help="name of the archive")
    result.add_argument("--archive", type=Path, required=True, help="the archive's file")
    result.add_argument("--record", type=Path, required=True, help="record of its download")
    result.add_argument("--raw-root", type=Path, required=True, help="root of the raw data")
    result.add_argument("--output", type=Path, required=True, help="the JSON to write")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Extract the archive and write the record."""
    download = read_record(arguments.record)
    members = extract(arguments.archive, arguments.raw_root / ARCHIVES[arguments.name].extract_to)
    known = {key: download.get(key) for key in ("name", "url", "bytes", "sha256")}
    write_text(arguments.output, json.dumps({**known, "members": members}, indent=1) + "\n")
    logging.info("%s: %d files in place", arguments.name, members)


if __name__ == "__main__":
    run(parser(), main)

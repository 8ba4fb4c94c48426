"""Write envs/scan.yaml, for `conda env create`, from the lock.

Conda takes no lock of pip's with hashes for every platform, so the file holds the pins itself.
"""

import re
from pathlib import Path

HEADER = """\
# Made from requirements.lock by `make lock`. For `conda env create --file envs/scan.yaml`.
name: scan
channels: [conda-forge]
dependencies:
  - python=3.12
  - pip
  - pip:
"""


def pins(lock: str) -> list[str]:
    """The requirements of a lock file, `name==version ; marker`, without hashes."""
    return [
        line.rstrip(" \\") for line in lock.splitlines() if re.match(r"[\w.-]+(\[.*\])?==", line)
    ]


def environment(lock: str) -> str:
    """The text of the conda environment file."""
    return HEADER + "".join(f'      - "{pin}"\n' for pin in pins(lock))


if __name__ == "__main__":
    folder = Path(__file__).parent
    lock = (folder / "requirements.lock").read_text(encoding="utf-8")
    (folder / "scan.yaml").write_text(environment(lock), encoding="utf-8")

"""A full disk is said in one way, whatever is written: which file, how much is missing, what stays.

Every case runs on a real file system of two megabytes.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOUNT = ["unshare", "--user", "--map-root-user", "--mount"]

# What is written -> the statement that writes it to `target`, which has a former version.
CASES = {
    "a checkpoint": "save_state(target, {'weight': torch.zeros(10**6)})",
    "weights": "save_tensors(target, {'weight': torch.zeros(10**6)}, {})",
    "a text": "write_text(target, 'x' * 4_000_000)",
    "a picture": """
with atomic_path(target) as temporary:
    Image.fromarray(noise).save(temporary, format='png')""",
    "an array": """
with atomic_path(target) as temporary, temporary.open('wb') as file:
    np.savez(file, noise=noise)""",
    "what PyTorch writes by itself": """
with atomic_path(target) as temporary:
    torch.save(torch.zeros(10**6), temporary)""",
    "a record that grows": """
with room_for(target), target.open('ab') as file:
    file.write(noise.tobytes())""",
}
PROGRAM = """
import sys
from pathlib import Path
import numpy as np, torch
from PIL import Image
from scan_core.errors import DiskFullError
from scan_core.storage.atomic import atomic_path, write_text
from scan_core.storage.full_disk import room_for
from scan_core.storage.states import save_state
from scan_core.storage.tensors import save_tensors

folder = Path(sys.argv[1])
noise = np.random.default_rng(0).integers(0, 255, (1200, 1200, 3), dtype=np.uint8)
cases = {cases!r}
for name, statement in cases.items():
    target = folder / "target.bin"
    target.write_bytes(b"former")
    try:
        exec(statement)
        print(f"{{name}}: it was written")
    except DiskFullError as error:
        print(f"{{name}}: {{error}}")
    kept = target.read_bytes()[:6] == b"former"
    print([path.name for path in folder.iterdir()], kept)
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each case says on a full disk, and what lies there then."""
    if not shutil.which("unshare") or subprocess.run([*MOUNT, "true"]).returncode:
        pytest.skip("no file system can be mounted here")
    folder = tmp_path_factory.mktemp("disk")
    program = PROGRAM.format(cases=CASES)
    script = 'mount -t tmpfs -o size=2m none "$1" && exec "$2" -c "$3" "$1"'
    command = [*MOUNT, "sh", "-c", script, "sh", str(folder), sys.executable, program]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    return dict(zip(CASES, zip(lines[::2], lines[1::2], strict=True), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_a_full_disk_is_said_in_one_way(said, case):
    message, left = said[case]
    assert message.startswith(f"{case}: the disk is full: ")
    for words in ("target.bin could not be written", "more are needed", "run again", "is kept"):
        assert words in message
    assert left == "['target.bin'] True"


@pytest.mark.parametrize("case", ["a checkpoint", "weights", "a text"])
def test_what_is_known_to_be_missing_is_said(said, case):
    assert re.search(r"about (1\.9|2\.0) MB more are needed", said[case][0])

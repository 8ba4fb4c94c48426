"""What a process has freed stays with it, unless someone has chosen otherwise."""

import os
import platform
import subprocess
import sys

import pytest

# Pages of 4 KiB that a gigabyte in pieces of 64 MiB touches, if every piece is new.
_PAGES = 2**30 // 4096
_PROGRAM = """
import resource
import torch
from scan_core.params.command_line import keep_freed_memory

told = keep_freed_memory()
for _ in range(16):
    torch.ones(2**24)
first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(16):
    torch.ones(2**24)
print(told, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first)
"""


def _faults(**environment: str) -> tuple[bool, int]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    told, faults = done.stdout.split()
    return told == "True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is told")
def test_freed_memory_is_used_again():
    told, faults = _faults()
    assert told
    assert faults < _PAGES / 20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is told")
@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_TRIM_THRESHOLD_", "131072"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_max=100")],
)
def test_an_allocator_that_someone_has_set_is_left_alone(name, value):
    assert not _faults(**{name: value})[0]

"""On a fake GPU: every tensor is where its neighbours are, and the process waits for nothing."""

import json
import os
import subprocess
import sys

import pytest
from documented import ROOT

# What may be waited for in each part: the draws of contextual shift, which come from the CPU's
# generators so that they are the same everywhere, and with a real GPU from pinned memory.
ALLOWED = {
    "segmenter": {},
    "fine_tuning": {"keys.to(": 1},
    "inference": {"random_ranks(": 2},
}


@pytest.mark.long
@pytest.mark.parametrize("part", ALLOWED)
def test_work_on_a_gpu_waits_for_nothing(part):
    ran = subprocess.run(
        [sys.executable, "tests/fake_gpu.py", part],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    traced = json.loads(ran.stdout.splitlines()[-1])
    assert traced["device"] == "cuda"
    assert traced["dtype"] == "torch.float32", "losses and class logits are never rounded"
    for line, times in traced["waits"].items():
        assert any(words in line and times <= most for words, most in ALLOWED[part].items()), line

"""The benchmark for GPUs, tried on the CPU: every part runs, and says that results are right."""

import re
import subprocess
import sys

import pytest
from documented import ROOT


@pytest.mark.long
def test_the_benchmark_of_a_gpu_finds_nothing_wrong_with_the_cpu():
    command = [
        *(sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--recipes", "mini"),
        *("--steps", "12", "--batch", "2", "--no-compile"),
    ]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "All results are as they should be." in ran.stdout
    equal = dict(re.findall(r"^\| (\w+) \| \S+ \| \S+ \| ([\d.]+)% ", ran.stdout, re.M))
    assert equal.keys() == {"float32", "tf32", "bfloat16"}
    assert float(equal["float32"]) == 100
    assert float(equal["bfloat16"]) < 100, "rounding must be seen, or nothing was rounded"
    assert "continuing after step" in ran.stderr
    assert "killed and continued" in ran.stdout

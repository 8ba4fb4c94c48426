"""What a process that uses the model costs before it does anything."""

import subprocess
import sys

from documented import ROOT

# Each brings a second or more of its own.
SLOW = ("open_clip", "torchvision", "torch._dynamo", "transformers", "scipy", "mlflow")
_MAKE_A_NETWORK = """
import sys
from pathlib import Path

import scan_core.evaluation.evaluator
import scan_core.inference.scan
from scan_core.models.build import architecture_of, build_network
from scan_core.params.reading import read_params, validate

recipe = validate(read_params(Path("params.yaml"))).recipes["mini"]
build_network(architecture_of(recipe.segmenter, recipe.clip))
print(*sys.modules)
"""


def test_the_models_code_imports_pytorch_and_nothing_else_that_is_slow():
    ran = subprocess.run(
        [sys.executable, "-c", _MAKE_A_NETWORK],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = set(ran.stdout.split())
    assert "torch" in loaded
    assert not loaded & set(SLOW)

"""What is generated and kept in the repository is in step with what it is made from."""

import re
import runpy
from pathlib import Path

from scan_core.reporting.parameters import parameter_reference

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "envs/requirements.lock").read_text(encoding="utf-8")


def test_the_reference_of_parameters_is_current():
    page = (ROOT / "docs/parameters.md").read_text(encoding="utf-8")
    assert page == parameter_reference(ROOT / "params.yaml"), "run `make docs`"


def test_the_conda_environment_holds_the_pins_of_the_lock():
    module = runpy.run_path(str(ROOT / "envs/make_conda_environment.py"))
    assert (ROOT / "envs/scan.yaml").read_text(encoding="utf-8") == module["environment"](LOCK)


def test_the_lock_pins_everything_with_hashes_and_names_no_address():
    requirements = re.split(r"\n(?=\S)", LOCK.strip())
    for requirement in requirements:
        assert "==" in requirement
        assert "--hash=sha256:" in requirement
    assert "://" not in LOCK


def test_torch_and_torchvision_fit_together():
    import torch
    import torchvision

    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9]])
    kept = torchvision.ops.nms(boxes, torch.tensor([0.4, 0.9]), 0.5)
    assert kept.tolist() == [1]

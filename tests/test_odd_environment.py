"""What surrounds a command: settings of a notebook, encodings of the past, no network."""

import os
import subprocess
import sys

import pytest
from test_scan import ROOT

from scan_core.datasets.formats import FORMATS
from scan_core.errors import InputError
from scan_core.params.reading import read_params
from scan_core.reporting.figures.plotting import save_figure
from scan_core.reporting.figures.result_figures import per_class_figure
from scan_core.reporting.results import ClassResult


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_figures_are_drawn_whatever_a_notebook_has_set(backend):
    for script in ("figures", "grid_report"):
        ran = subprocess.run(
            [sys.executable, "-m", f"workflow_scripts.{script}", "--help"],
            cwd=ROOT, env={**os.environ, "MPLBACKEND": backend}, capture_output=True, text=True,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr


def test_a_dollar_in_a_class_name_is_a_dollar(tmp_path):
    names = [r"costs $5 and $6", r"$\nonsense{$"]
    classes = [ClassResult(name, None, 0.5) for name in names]
    save_figure(per_class_figure(classes, "prices"), tmp_path, "bars")
    assert (tmp_path / "bars.png").stat().st_size > 1000


def test_text_in_another_encoding_is_a_message(tmp_path):
    params = tmp_path / "params.yaml"
    params.write_bytes("recipe: mini  # für alle\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"params\.yaml: byte 17 is not UTF-8"):
        read_params(params)
    listed = tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt"
    listed.parent.mkdir(parents=True)
    listed.write_bytes("stra\u00dfe\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"val\.txt: byte 4 is not UTF-8"):
        FORMATS["pascal_voc"].list_split(tmp_path, "val")
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    (tmp_path / "val.txt").write_bytes(b"\xff\xfeone")
    with pytest.raises(InputError, match=r"val\.txt cannot be read"):
        FORMATS["folder"].list_split(tmp_path, "val")

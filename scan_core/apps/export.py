"""Export a model as ONNX graphs, which `scan_core.apps.exported` runs without PyTorch."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from scan_core.apps.class_names import ClassNames, class_names
from scan_core.apps.exported import DESCRIPTION, FORMAT, GRAPHS, TEXT
from scan_core.apps.model import ModelSource, Source
from scan_core.apps.segment import check_new
from scan_core.errors import InputError
from scan_core.params.command_line import run
from scan_core.storage.files import atomic_folder, write_json

if TYPE_CHECKING:
    from scan_core.inference.scan import Scan

# Released defects that concern training, or several images at once.
_WITHOUT_EFFECT = {"first_image_context", "stale_text_features", "discard_last_auxiliary_loss"}


def export(
    classes: str,
    out: Path,
    format: Literal["onnx", "text"] = "onnx",
    model: Source = ModelSource(),  # noqa: B008
) -> None:
    r"""Export a model as ONNX graphs, to run it without PyTorch.

        python -m scan_core.apps.export --checkpoint results/mini/release/model.safetensors \
            --classes "cat, dog, sofa | couch" --out exported

    Writes proposals.onnx, crops.onnx and classes.onnx (the method), text.npz (the words as text
    features) and model.json (test-time settings). `python -m scan_core.apps.exported` segments
    images with them.

    Args:
        classes: "cat, dog, sofa | couch" has commas between classes and | between synonyms; or
            @FILE with one class a line; or @NAME of a built-in list, such as @ade20k_150.
        out: folder to write; it must be new or empty.
        format: onnx writes all of this; text writes text.npz alone, for a model that is exported
            already.
        model: which model, and whose settings it uses by default.
    """
    wanted = class_names(classes)
    check_new(out)
    if format == "onnx":
        # What the exporter imports late, so that a missing extra is told before the work.
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    scan = model.open()
    with atomic_folder(out) as folder:
        write_text_features(folder, scan, wanted)
        if format == "onnx":
            export_model(folder, scan)


def export_model(folder: Path, scan: "Scan") -> None:
    """Write a model, but for its text features.

    Args:
        folder: to write to.
        scan: on the CPU; its settings become the default.

    Raises:
        InputError: the model repeats a released defect, or a graph does not give what PyTorch
            gives.
    """
    from scan_core.apps.onnx_graphs import ClassGraph, CropGraph, ProposalGraph, write_graph
    from scan_core.models.preprocessing import STRIDE

    if repeated := {name for name, is_on in scan.defects if is_on} - _WITHOUT_EFFECT:
        raise InputError(
            f"a model with the released defect '{min(repeated)}' cannot be exported. Release or "
            "import it with a recipe that sets it to false"
        )
    for name, graph in zip(GRAPHS, (ProposalGraph, CropGraph, ClassGraph), strict=True):
        write_graph(folder / name, graph(scan).eval())
    description = {
        "format": FORMAT,
        "checkpoint": scan.header["checkpoint"]["sha256"],
        "settings": scan.settings.as_dict(),
        "test_settings": scan.settings_table.as_dict(),
        "logit_scale": float(scan.network.clip.logit_scale.exp()),
        "seed": scan.header["seed"],
        "stride": STRIDE,
        "warning": scan.warning,
    }
    write_json(folder / DESCRIPTION, description)


def write_text_features(folder: Path, scan: "Scan", classes: ClassNames) -> None:
    """Write class names with their text features, by the prompts of the model's settings."""
    features = scan.embed(classes.words).cpu().numpy()
    np.savez(
        folder / TEXT,
        allow_pickle=False,
        classes=[" | ".join(words) for words in classes.synonyms],
        words=classes.words,
        features=features[:-1],
        no_object=features[-1:],
        prompts=scan.settings.prompts,
        checkpoint=scan.header["checkpoint"]["sha256"],
    )


def start() -> None:
    """Run the command."""
    run(export)


if __name__ == "__main__":
    start()

"""Export a model as ONNX graphs, which `scan_core.apps.exported` runs without PyTorch."""

from pathlib import Path
from typing import Literal

from scan_core.apps.class_names import class_names
from scan_core.apps.model import ModelSource, Source
from scan_core.apps.segment import check_new
from scan_core.params.command_line import run
from scan_core.storage.files import atomic_folder


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
    from scan_core.apps.onnx_graphs import export_model, write_text_features

    scan = model.open()
    with atomic_folder(out) as folder:
        write_text_features(folder, scan, wanted)
        if format == "onnx":
            export_model(folder, scan)


def start() -> None:
    """Run the command."""
    run(export)


if __name__ == "__main__":
    start()

r"""Export a model as ONNX graphs, to run it without PyTorch.

    python -m scan_core.apps.export --checkpoint results/mini/release/model.safetensors \
        --classes "cat, dog, sofa | couch" --format onnx --out exported

Writes proposals.onnx (mask proposals and their embeddings), crops.onnx (CLIP on masked crops, with
contextual shift), text.npz (the class list as text features) and model.json (test-time settings,
preprocessing, prompts). `python -m scan_core.apps.exported` segments images with them. --format
text writes another class list for a model that is exported already.
"""

import argparse
from pathlib import Path

from scan_core.apps.own_classes import own_classes, parse_classes
from scan_core.apps.segment import add_model_choice
from scan_core.command.command_line import run
from scan_core.errors import InputError


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(
        prog="python -m scan_core.apps.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "--classes",
        required=True,
        help='"cat, dog, sofa | couch": commas between classes, | between synonyms; or @FILE with '
        "one class a line; or @NAME of a built-in list, such as @ade20k_150",
    )
    result.add_argument(
        "--format",
        choices=["onnx", "text"],
        default="onnx",
        help="onnx: the model and the class list (default); text: the class list alone",
    )
    result.add_argument(
        "--largest-side",
        type=int,
        help="of the images that the graphs take, after resizing, pixels (default: what the "
        "settings allow)",
    )
    result.add_argument(
        "--out",
        type=Path,
        required=True,
        dest="output",
        help="folder to write; it must not exist, or be empty",
    )
    add_model_choice(result)
    return result


def main(arguments: argparse.Namespace) -> None:
    """Load the model and write the folder."""
    if arguments.largest_side is not None and arguments.largest_side < 1:
        raise InputError(f"--largest-side {arguments.largest_side}: expected at least 1 pixel")
    classes = own_classes(parse_classes(arguments.classes))
    if arguments.format == "onnx":
        # What the exporter imports late, so that a missing extra is told before the work.
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    # Torch takes seconds to import: after what can be refused without it.
    from scan_core.apps.chosen_model import chosen_model
    from scan_core.apps.export.model_folder import check_empty, export_model, export_text

    check_empty(arguments.output)
    scan = chosen_model(
        arguments.checkpoint, arguments.recipe, arguments.params, None, arguments.benchmark
    )
    if arguments.format == "onnx":
        export_model(scan, classes, arguments.output, arguments.largest_side)
    else:
        export_text(scan, classes, arguments.output)


def start() -> None:
    """Run the command."""
    run(parser(), main)


if __name__ == "__main__":
    start()

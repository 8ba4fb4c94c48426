"""Try the model on any image, in the browser.

    python -m scan_core.apps.page

Open the address that it prints. Everything stays on this machine: the page loads nothing from other
servers. The default model is the one that `make demo` has trained. It knows only the drawings and
words of the miniature world; for photographs, import the published weights (docs/weights.md).
"""

import argparse
import logging

from scan_core.apps.segment import OVERRIDES, add_model_options
from scan_core.command.command_line import run
from scan_core.errors import InputError


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(
        prog="python -m scan_core.apps.page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "--host",
        default="127.0.0.1",
        help="0.0.0.0 makes the page reachable from the network (default: this machine only)",
    )
    result.add_argument("--port", type=int, default=7860, help="default: 7860")
    add_model_options(result)
    return result


def main(arguments: argparse.Namespace) -> None:
    """Load the model and serve the page until interrupted."""
    from scan_core.apps.chosen_model import chosen_model, knows_only_drawings
    from scan_core.inference.devices import chosen_device

    try:
        from scan_core.apps.page.page import serve
        from scan_core.apps.page.viewer import Viewer
    except ModuleNotFoundError as error:
        raise InputError(
            f"the page needs {error.name}, which is not installed: pip install '.[web]'"
        ) from None

    scan = chosen_model(
        arguments.checkpoint,
        arguments.recipe,
        arguments.params,
        {key: getattr(arguments, key) for key in OVERRIDES},
        arguments.benchmark,
        device=chosen_device(arguments.device),
        text_cache=arguments.text_cache,
    )
    about = f"The model is `{scan.header['checkpoint']['path']}`."
    if knows_only_drawings(scan):
        about += " **It knows only drawings:** the scenes and words of the miniature world. On "
        about += "photographs its results mean nothing."
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio's calls of itself
    logging.info("open http://%s:%d, end with Ctrl-C", arguments.host, arguments.port)
    serve(Viewer(scan), about, arguments.host, arguments.port)


def start() -> None:
    """Run the command."""
    run(parser(), main)


if __name__ == "__main__":
    start()

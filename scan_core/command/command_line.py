"""What every command line of the project shares: logging, and errors for people."""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType

from scan_core.command.freed_memory import keep_freed_memory
from scan_core.command.stopping import Interrupted, put_back_into_queue
from scan_core.errors import InputError
from scan_core.storage.atomic import remove_leftovers
from scan_core.storage.full_disk import room_for
from scan_core.storage.locks import exclusive, is_first_process

# A command has no windows. What a notebook that it is started from has set here is unknown to
# Matplotlib outside of the notebook, which then cannot even be imported.
os.environ["MPLBACKEND"] = "agg"

# What is imported only where it is used -> the extra of the package that brings it.
_EXTRAS = {
    **dict.fromkeys(("torch", "torchvision", "open_clip", "safetensors", "pycocotools"), "models"),
    **dict.fromkeys(("lightning_fabric", "HanTa"), "training"),
    "matplotlib": "reports",
    "mlflow": "tracking",
    "optuna": "search",
    "gradio": "web",
    **dict.fromkeys(("onnx", "onnxscript", "onnxruntime"), "export"),
}


def run(parser: argparse.ArgumentParser, main: Callable[[argparse.Namespace], None]) -> None:
    """Parse the command line, run `main`, and end the log with the time it took.

    Only one command at a time makes an `--output`: see `scan_core.storage.locks`. Temporary files
    that killed ones have left beside it are removed; one that is told to end leaves none.
    An `InputError`, a failure of the operating system such as a full disk, or a missing package of
    an extra exits with status 1 and one message; a defect of ours keeps its traceback. The log goes
    to standard error.

    Args:
        parser: the command's parser.
        main: does the work, given the parsed arguments.
    """
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    start = time.monotonic()
    keep_freed_memory()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # `nohup` means what it says
            signal.signal(number, _end)
    try:
        output = getattr(arguments, "output", None)
        lock: AbstractContextManager[None] = nullcontext()
        if isinstance(output, Path) and is_first_process():
            lock = exclusive(output)
            remove_leftovers(output.parent)
        with lock, room_for(output if isinstance(output, Path) else Path.cwd()):
            main(arguments)
    except Interrupted as stopped:
        if is_first_process():
            put_back_into_queue(stopped.signal)
        raise
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        extra = _EXTRAS[package]
        sys.exit(
            f"error: this needs {package}, which is not installed: "
            f"pip install 'scan-pipeline[{extra}]'"
        )
    logging.info("done in %.1f s", time.monotonic() - start)


def _end(number: int, frame: FrameType | None) -> None:
    """Take a signal for an exit, in which everything that was begun is put away."""
    sys.exit(128 + number)


def counts(text: str) -> tuple[str, int]:
    """Parse one `split=number` argument, such as `val=5000`.

    Raises:
        argparse.ArgumentTypeError: not of that form.
    """
    split, _, number = text.partition("=")
    if not split or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form SPLIT=NUMBER")
    return split, int(number)

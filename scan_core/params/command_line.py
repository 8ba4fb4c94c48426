"""What every command line shares: options from a signature, logging, stop signals, errors."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from scan_core.errors import InputError

# A preemption, the end of a job's time, and Ctrl-C.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
# What is imported only where it is used -> the extra of the package that brings it.
_EXTRAS = {
    **dict.fromkeys(("torch", "torchvision", "open_clip", "safetensors", "pycocotools"), "models"),
    **dict.fromkeys(("lightning_fabric", "HanTa"), "training"),
    **dict.fromkeys(("matplotlib", "jinja2"), "reports"),
    "mlflow": "tracking",
    "optuna": "search",
    **dict.fromkeys(("starlette", "uvicorn"), "web"),
    **dict.fromkeys(("onnx", "onnxscript", "onnxruntime"), "export"),
}
# mallopt's parameters in glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4

# A command draws into files. A notebook exports its own backend, which does not exist outside it.
os.environ["MPLBACKEND"] = "agg"


class Interrupted(SystemExit):
    """The process was asked to stop, and what it had done is on disk.

    Args:
        number: of the signal; the exit status is 128 more.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = number


def run(command: Callable[..., None]) -> None:
    """Parse the command line by the signature of a function, and call it.

    The function's docstring is the help text; its `Args` section describes the options. The log
    goes to standard error. An `InputError`, a failure of the operating system such as a full disk,
    or a missing package of an extra exits with status 1 and one message; a defect keeps its
    traceback.

    Args:
        command: does the work.
    """
    import tyro

    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    start = time.monotonic()
    keep_freed_memory()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # `nohup` means what it says
            signal.signal(number, _exit)
    try:
        spec = sys.modules["__main__"].__spec__
        prog = f"python -m {spec.name}" if spec else None
        tyro.cli(command, prog=prog, config=(tyro.conf.OmitArgPrefixes,))
        sys.stdout.flush()
    except Interrupted as stopped:
        if os.environ.get("SLURM_PROCID", "0") == "0":
            _requeue(stopped.signal)
        raise
    except BrokenPipeError:  # `| head` has read enough
        os._exit(128 + signal.SIGPIPE)
    except (InputError, OSError) as error:
        sys.exit(f"error: {error}")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        sys.exit(
            f"error: this needs {package}, which is not installed: "
            f"pip install 'scan-pipeline[{_EXTRAS[package]}]'"
        )
    logging.info("done in %.1f s", time.monotonic() - start)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect the numbers of the stop signals that arrive, instead of ending the process.

    A second Ctrl-C ends the process at once.
    """
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and number in received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, remember) for number in STOP_SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_stop_signals() -> None:
    """Leave it to the parent process when to end this one."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory instead of returning it to the kernel.

    The full-size network allocates and frees tens of megabytes many times an image, and by default
    the kernel clears every page again: `python -m benchmarks.allocator` measures the difference.
    Nothing changes where the environment configures the allocator, or without glibc.

    Returns:
        whether glibc was told.
    """
    configured = "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")
    if configured or any(name.startswith("MALLOC_") for name in os.environ) or os.name != "posix":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def _exit(number: int, frame: FrameType | None) -> None:
    """End by an exception, so that temporary files are removed."""
    sys.exit(128 + number)


def _requeue(stopped_by: int) -> None:
    """Have SLURM start this job again, if it was told that the job's time limit is near.

    A requeued job keeps its number and has not failed. Where requeueing is not allowed, the exit
    status has Snakemake submit the job again.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if stopped_by != signal.SIGUSR1 or job is None:
        return
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return
    logging.info("SLURM has put job %s back into its queue", job)

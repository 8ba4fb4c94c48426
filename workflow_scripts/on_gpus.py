"""Run a command on GPUs of this machine that no other command started in this way is using.

It waits until enough of them are free, names them in `CUDA_VISIBLE_DEVICES`, and becomes the
command. A GPU is free again when the command and all that it started have ended, however that was.
"""

import fcntl
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from tyro.conf import Positional

from scan_core.errors import InputError
from scan_core.params.command_line import run


def on_gpus(count: Positional[int], command: Positional[list[str]]) -> None:
    """Run a command on GPUs of this machine that no other command started in this way is using.

    Args:
        count: number of GPUs that the command gets.
        command: `--`, then the command and its arguments.
    """
    devices = visible_gpus()
    if len(devices) < count:
        have = f"{count} GPUs are asked for, and there are {len(devices)}"
        raise InputError(f"{have}; ask for fewer in local/profile.yaml")
    while not (taken := _taken(devices, count)):
        time.sleep(0.5)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
    os.execvp(command[0], command)


def visible_gpus() -> list[str]:
    """Those that `CUDA_VISIBLE_DEVICES` names, or all of the machine."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    return [path.name.removeprefix("nvidia") for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]


def _taken(devices: list[str], count: int) -> dict[str, IO[str]]:
    """Lock this number of devices, or none, so that two waiting commands never block each other."""
    taken: dict[str, IO[str]] = {}
    for device in devices:
        lock = Path(tempfile.gettempdir(), f"scan-gpu-{os.getuid()}-{device}.lock").open("a")  # noqa: SIM115
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken[device] = lock
        if len(taken) == count:
            for held in taken.values():
                os.set_inheritable(held.fileno(), True)  # the command keeps the lock
            return taken
    return {}  # and the files are closed, which frees the devices


if __name__ == "__main__":
    run(on_gpus)

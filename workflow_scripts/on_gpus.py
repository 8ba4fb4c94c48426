"""Run a command on GPUs of this machine that no other command started in this way is using.

It waits until enough of them are free, names them in `CUDA_VISIBLE_DEVICES`, and becomes the
command. A GPU is free again when the command and all that it started have ended, however that was.
"""

import fcntl
import logging
import os
import tempfile
import time
from pathlib import Path

from tyro.conf import Positional

from scan_core.errors import InputError
from scan_core.params.command_line import run

_POLL = 0.5


def on_gpus(count: Positional[int], command: Positional[list[str]]) -> None:
    """Run a command on GPUs of this machine that no other command started in this way is using.

    Args:
        count: number of GPUs that the command gets.
        command: `--`, then the command and its arguments.
    """
    devices = visible_gpus()
    if len(devices) < count:
        raise InputError(
            f"{count} GPUs are asked for, and there are {len(devices)}; ask for fewer in "
            "local/profile.yaml"
        )
    while len(taken := _taken(devices, count)) < count:
        time.sleep(_POLL)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
    logging.info("on GPU %s", ", ".join(taken))
    os.execvp(command[0], command)


def visible_gpus() -> list[str]:
    """Those that `CUDA_VISIBLE_DEVICES` names, or all of the machine."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    return [path.name.removeprefix("nvidia") for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]


def _taken(devices: list[str], count: int) -> list[str]:
    """Lock this number of devices, or none, so that two waiting commands never block each other."""
    taken: list[str] = []
    descriptors = []
    for device in devices:
        name = f"scan-gpu-{os.getuid()}-{device}.lock"
        descriptor = os.open(Path(tempfile.gettempdir(), name), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            continue
        descriptors.append(descriptor)
        taken.append(device)
        if len(taken) == count:
            break
    if len(taken) < count:
        for descriptor in descriptors:
            os.close(descriptor)
        return []
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)  # the command keeps the lock
    return taken


if __name__ == "__main__":
    run(on_gpus)

"""Run a command on GPUs of this machine that no other command started so is using.

It waits until enough of them are free, names them in `CUDA_VISIBLE_DEVICES`, and becomes the
command. A GPU is free again when the command and all that it started have ended, however that was.
"""

import argparse
import fcntl
import logging
import os
import tempfile
import time
from pathlib import Path

from scan_core.command.command_line import run
from scan_core.errors import InputError

_POLL = 0.5


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("count", type=int, help="GPUs that the command gets")
    result.add_argument("command", nargs=argparse.REMAINDER, help="and its arguments")
    return result


def main(arguments: argparse.Namespace) -> None:
    """Take the GPUs, and become the command."""
    devices = visible_gpus()
    if len(devices) < arguments.count:
        raise InputError(
            f"{arguments.count} GPUs are asked for, and there are {len(devices)}; ask for fewer "
            "in local/profile.yaml"
        )
    while len(taken := _taken(devices, arguments.count)) < arguments.count:
        time.sleep(_POLL)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(taken)
    logging.info("on GPU %s", ", ".join(taken))
    os.execvp(arguments.command[0], arguments.command)


def visible_gpus() -> list[str]:
    """Those that `CUDA_VISIBLE_DEVICES` names, or all of the machine."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    return [path.name.removeprefix("nvidia") for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]


def _taken(devices: list[str], count: int) -> list[str]:
    """Lock so many devices, or none: who waits holds nothing that another one waits for."""
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
    run(parser(), main)

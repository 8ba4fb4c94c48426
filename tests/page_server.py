"""The page's server as a person starts it, and a client that asks whatever it likes of it."""

import json
import socket
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

import requests
from project import ROOT
from small_models import tiny_scan


class PageServer:
    """A running server."""

    def __init__(self, address: str, log: Path, process: subprocess.Popen):
        self.address, self.log, self.process = address, log, process

    def visitor(self) -> "Visitor":
        return Visitor(self.address)

    def errors_of_ours(self) -> list[str]:
        """Tracebacks in the log that pass through the project's code.

        A visitor who leaves in the middle of an answer makes the libraries log one of theirs.
        """
        parts = self.log.read_text().split("Traceback (most recent call last):")[1:]
        return [part for part in parts if "scan_core/" in part]

    def memory(self) -> float:
        """Most memory so far, MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024


class Visitor:
    """A browser's cookies and session, without the browser."""

    def __init__(self, address: str):
        self.address, self.session = address, requests.Session()
        self.hash = uuid.uuid4().hex
        self.session.get(address, timeout=60)
        config = self.session.get(f"{address}/config", timeout=60).json()
        self.functions = {
            entry["api_name"]: entry["id"] for entry in config["dependencies"] if entry["api_name"]
        }

    def upload(self, path: Path) -> str:
        with path.open("rb") as file:
            answer = self.session.post(
                f"{self.address}/gradio_api/upload", files={"files": file}, timeout=60
            )
        answer.raise_for_status()
        return answer.json()[0]

    def post(self, where: str, **options) -> requests.Response:
        return self.session.post(f"{self.address}{where}", timeout=60, **options)

    def join(self, data: list, function: str = "segment") -> requests.Response:
        body = {"data": data, "fn_index": self.functions[function], "session_hash": self.hash}
        return self.post("/gradio_api/queue/join", json=body)

    def ask(self, image, names="sea, sand", background="", numbers=(0.5, 0.9, 0)) -> dict:
        """What comes of a request: `output` of the queue's last message."""
        joined = self.join([image, None, names, background, *numbers])
        assert joined.status_code == 200, joined.text
        return self.result(joined.json()["event_id"])

    def result(self, event: str, logs: list[dict] | None = None) -> dict:
        """The queue's last message; those that the page shows on the way go into `logs`."""
        where = f"{self.address}/gradio_api/queue/data?session_hash={self.hash}"
        end = time.monotonic() + 120  # the server's signs of life come for ever
        with self.session.get(where, stream=True, timeout=120) as stream:
            for line in stream.iter_lines():
                assert time.monotonic() < end, "no answer for two minutes"
                message = json.loads(line.removeprefix(b"data: ")) if line else {}
                if logs is not None and message.get("msg") == "log":
                    logs.append(message)
                if message.get("event_id") == event and message["msg"] == "process_completed":
                    return message
        raise AssertionError("the stream ended without a result")


@contextmanager
def running_page(folder: Path, limits: str = ""):
    """Start the server on a free port with the small model of the tests, and end it.

    Args:
        folder: for the model and the log.
        limits: statements that set other limits.
    """
    tiny_scan().save(folder / "model.safetensors")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = f"from scan_core.apps.page import __main__, gate, uploads\n{limits}\n__main__.start()"
    command = [sys.executable, *(["-c", program] if limits else ["-m", "scan_core.apps.page"])]
    command += ["--port", str(port)]
    command += ["--checkpoint", str(folder / "model.safetensors"), "--device", "cpu"]
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end and process.poll() is None:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        assert process.poll() is None, log.read_text()
        yield PageServer(f"http://127.0.0.1:{port}", log, process)
    finally:
        process.terminate()
        try:
            process.wait(30)  # a visitor who is still connected may hold it up
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

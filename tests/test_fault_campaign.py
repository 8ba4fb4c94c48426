"""The campaign of `fault_cases`: each file that is read is damaged in every way, then read.

Each reader runs as a command of its own process does, and each case in a copy of the same small
project. At the end the campaign prints how many were tried, were as promised, and failed.
"""

import argparse
import hashlib
import io
import json
import os
import random
import shutil
import signal
import sys
import threading
import traceback
import zipfile
from collections import Counter
from pathlib import Path

import fault_cases as faults
import numpy as np
import open_clip  # noqa: F401 - once here, and not in every process of a case
import pytest
import torch
from PIL import Image
from test_download import CONTENT, FAST, Server
from test_metrics import SETTINGS, TIMING

from scan_core.command.command_line import run
from scan_core.datasets.conversion import convert
from scan_core.datasets.download.archives import Archive
from scan_core.datasets.download.fetch import download
from scan_core.datasets.formats import FORMATS
from scan_core.datasets.loading import BenchmarkImages
from scan_core.datasets.manifest import write_manifest
from scan_core.datasets.verification import verify
from scan_core.errors import InputError
from scan_core.evaluation.merging import merge_shards, save_confusion, save_shard
from scan_core.evaluation.shard_store import ShardStore
from scan_core.models.build import tokenizer_for
from scan_core.models.clip import build_clip
from scan_core.models.text_features import TextEncoder
from scan_core.reporting.results import load_confusion, load_evaluations
from scan_core.storage.records import write_record
from scan_core.storage.states import load_state, save_state
from scan_core.storage.tensors import copy_with_header, load_tensors, save_tensors
from scan_core.tracking.datasets import Manifest
from scan_core.training.mining import MaskTextPairs
from scan_core.vocabulary.classes import load_class_list

pytestmark = pytest.mark.long

COUNTS = np.random.default_rng(1).integers(0, 99, (4, 4))
CLIP = {
    "embed_dim": 8, "image_size": 16, "patch_size": 8, "vision_width": 16, "vision_layers": 1,
    "text_width": 16, "text_layers": 1, "head_width": 8, "context_length": 16, "stem": "patches",
}  # fmt: skip


def _convert(folder: str) -> None:
    classes = load_class_list("ade20k_150")
    convert(FORMATS["ade20k_150"], classes, Path("raw"), Path(folder), ["val"], 1, "benchmark")


def _encode() -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(build_clip(CLIP), tokenizer_for({"clip": CLIP}), ["a {}"], Path("text"))
    Path("features").write_bytes(encoder(["cat", "dog"]).numpy().tobytes())


def _images() -> BenchmarkImages:
    return BenchmarkImages(Path("benchmark/index.json"), "val")


def _download() -> None:
    url = json.loads(Path("get/url.json").read_text())
    digest = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
    archive = Archive("begun.zip", (url,), None, digest, "none", ".", 0.0)
    download(archive, Path("get/begun.zip"), Path("manual"), FAST)


def _extract() -> None:
    from scan_core.datasets.download.extraction import extract

    extract(Path("get/data.zip"), Path("extracted"))


def _got(counts: np.ndarray) -> None:
    Path("got").write_bytes(counts.tobytes())


def _counted() -> None:
    """Counts of an evaluation that is asked for again; those that cannot be read are made."""
    found = ShardStore(Path("evaluated"), {}).load(["a"])
    _got(found.get("a", COUNTS))


READERS = {
    "label": lambda: _images().label(0),
    "image": lambda: _images().image(0),
    "verify": lambda: verify(Path("benchmark/index.json"), {"val": 4}, 1),
    "weights": lambda: load_tensors(Path("model.safetensors")),
    "copy": lambda: copy_with_header(Path("model.safetensors"), Path("copy.safetensors"), {}),
    "checkpoint": lambda: load_state(Path("checkpoint.pt"), "delete it"),
    "merge": lambda: _got(merge_shards([Path("shard.npz")]).counts["one"]),
    "evaluation": lambda: load_evaluations([Path("metrics.json")]),
    "confusion": lambda: _got(load_confusion(Path("confusion.npz"))),
    "counted": _counted,
    "uses": lambda: Path("got").write_text(Manifest(Path("manifest.json")).digest),
    "manifest": lambda: write_manifest("x", [], [Path("verification.json")], Path("made.json")),
    "extract": _extract,
    "pairs": lambda: MaskTextPairs(Path("pairs.jsonl")),
    "classes": lambda: load_class_list("classes.json"),
    "convert": lambda: _convert("begun"),
    "download": _download,
    "text": _encode,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A small project with a file of each kind, and a server for what is downloaded."""
    folder = tmp_path_factory.mktemp("project")
    before = Path.cwd()
    os.chdir(folder)
    try:
        with Server() as server:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            _fill(server.url())
            yield folder
            server.shutdown()
    finally:
        os.chdir(before)


def _fill(url: str) -> None:
    rng = np.random.default_rng(0)
    for number in range(1, 5):
        for kind, suffix in (("images", "jpg"), ("annotations", "png")):
            path = Path(f"raw/ADEChallengeData2016/{kind}/validation/ADE_val_{number:08d}.{suffix}")
            path.parent.mkdir(parents=True, exist_ok=True)
            size, most = ((32, 48, 3), 255) if kind == "images" else ((32, 48), 150)
            Image.fromarray(rng.integers(0, most, size, dtype=np.uint8)).save(path)
    _convert("benchmark")
    # Begun: the last image was not there in time.
    last = Path("raw/ADEChallengeData2016/images/validation/ADE_val_00000004.jpg")
    content, stamp = last.read_bytes(), last.stat().st_mtime_ns
    last.write_bytes(bytes(len(content)))
    os.utime(last, ns=(stamp, stamp))
    with pytest.raises(InputError, match="00000004"):
        _convert("begun")
    last.write_bytes(content)
    os.utime(last, ns=(stamp, stamp))
    tensors = {"weight": torch.arange(40.0).reshape(5, 8)}
    save_tensors(Path("model.safetensors"), tensors, {"architecture": {}})
    save_state(Path("checkpoint.pt"), {"step": 3, "module": tensors})
    save_shard(Path("shard.npz"), {"one": COUNTS}, TIMING, SETTINGS)
    save_confusion(Path("confusion.npz"), COUNTS)
    ShardStore(Path("evaluated"), {}).save({"a": COUNTS})
    write_record(Path("verification.json"), {"name": "b", "splits": {}})
    write_record(Path("metrics.json"), _metrics())
    write_manifest("x", [], [], Path("manifest.json"))
    pair = ["image", "stem", "noun", "score", "query", "size", "counts"]
    values = [0, "a", "cat", 0.5, 1, [2, 2], "04"]
    Path("pairs.jsonl").write_text(json.dumps(dict(zip(pair, values, strict=True))) + "\n")
    Path("classes.json").write_text(json.dumps({"names": ["a", "b"], "raw_ids": [1, 2]}))
    Path("get").mkdir()
    with zipfile.ZipFile("get/data.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(5):
            archive.writestr(f"{number}.bin", rng.bytes(300))
    Path("get/begun.zip.part").write_bytes(CONTENT[:100_000])
    origin = {"url": url, "validator": '"1"', "total": len(CONTENT)}
    Path("get/begun.zip.part.json").write_text(json.dumps(origin))
    Path("get/url.json").write_text(json.dumps(url))
    assert _ended("text")[0] == 0
    (cache,) = Path("text").iterdir()
    cache.rename("text/cache.safetensors")
    Path("text/name").write_text(cache.name)


def _metrics() -> dict:
    from scan_core.reporting.results import METRICS

    one = dict.fromkeys(METRICS, 0.5)
    return {
        "recipe": "r", "variant": "v", "benchmark": "b", "class_count": 2, "images": 1,
        "results": {"combined": one},
    }  # fmt: skip


def _damage(path: Path, how: str, seed: int) -> None:
    """Damage a file; the seed says where."""
    rng = random.Random(seed)
    whole = path.read_bytes()
    path.unlink()
    if how == faults.FLIP:
        changed = bytearray(whole)
        changed[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
    elif how == faults.CUT:
        path.write_bytes(whole[: rng.randrange(len(whole) - 2)])
    elif how == faults.EMPTY:
        path.write_bytes(b"")
    elif how == faults.NOISE:
        path.write_bytes(rng.randbytes(len(whole)))
    elif how == faults.PAGE:
        path.write_bytes(b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n")
    elif how == faults.FOLDER:
        path.mkdir()


def _ended(reader: str) -> tuple[int, str]:
    """Exit status of a reader, as a command, and what it said."""
    said = Path("said.txt")
    process = os.fork()
    if not process:
        code = 70
        signal.alarm(30)  # what hangs has failed
        torch.set_num_threads(1)
        try:
            with said.open("w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            sys.argv = [reader]
            run(argparse.ArgumentParser(), lambda arguments: READERS[reader]())
            code = 0
        except SystemExit as error:
            os.write(2, f"{error}\n".encode())
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return status, said.read_text(errors="replace")


def _made(reader: str) -> str:
    """Digest of what a reader makes."""
    roots = {"convert": "begun", "download": "get"}
    names = {"convert": ("*.png", "*.json"), "download": ("begun.zip",), "text": ("features",)}
    found = hashlib.sha256()
    for pattern in names.get(reader, ("got",)):
        for path in sorted(Path(roots.get(reader, ".")).rglob(pattern)):
            found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def _problem(case: tuple, how: str, seed: int, expected: dict[str, str]) -> str | None:
    """Why a case does not end as promised; None: it does."""
    _, file, reader, _, end = case
    path = Path(file)
    if reader == "text":  # a cache's name is the digest of what it depends on
        path.rename(path := Path("text") / Path("text/name").read_text())
    _damage(path, how, seed)
    status, said = _ended(reader)
    if "Traceback" in said:
        return f"a traceback: {said.splitlines()[-1]}"
    if end == faults.AGAIN or (end == faults.NEVER_OTHER and status == 0):
        made = _made(reader) if status == 0 else ""
        return (
            None if made == expected[reader] else f"status {status}, another result: {said[-200:]}"
        )
    last = said[said.rfind("error: ") :]
    if status != 1 or "error: " not in said:
        return f"status {status} and no message"
    return None if path.name in last or path.stem in last else f"names no file: {last}"


def test_the_campaign_of_damaged_files(project, tmp_path):
    expected, failed, tried = {}, [], Counter()
    for reader in READERS:
        _enter(project, tmp_path / "good")
        if reader == "text":
            Path("text/cache.safetensors").rename(Path("text") / Path("text/name").read_text())
        status, said = _ended(reader)
        assert status == 0, (reader, said)
        if reader in ("convert", "download", "text", "merge", "confusion", "counted", "uses"):
            expected[reader] = _made(reader)
    for case in faults.CASES:
        for how in case[3]:
            for seed in range(faults.SEEDS.get(how, 1)):
                _enter(project, tmp_path / "case")
                tried[case[0]] += 1
                if problem := _problem(case, how, seed, expected):
                    failed.append(f"{case[0]}: {case[1]} {how} {seed}: {problem}")
    os.chdir(project)
    bad = Counter(line.partition(":")[0] for line in failed)
    report = io.StringIO()
    for promise, number in tried.items():
        print(f"{number:4} tried {number - bad[promise]:4} ok {bad[promise]:4} failed  {promise}",
              file=report)  # fmt: skip
    total = tried.total()
    print(f"{total:4} tried {total - len(failed):4} ok {len(failed):4} failed", file=report)
    print(f"\n{report.getvalue()}")
    assert failed == [], report.getvalue() + "\n".join(failed)


def _enter(project: Path, folder: Path) -> None:
    """Make a fresh copy of the project, and go there."""
    os.chdir(project)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(project, folder)
    os.chdir(folder)

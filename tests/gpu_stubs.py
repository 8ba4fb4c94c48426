"""A workflow of stubs with the names of the rules that need GPUs, for the profiles to run."""

import json
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Writes which GPUs it was given, and from when to when it had them.
STUB = """
import json, os, sys, time
output, seconds, fails = sys.argv[1], float(sys.argv[2]), sys.argv[3] == "fails"
start = time.time()
time.sleep(seconds)
if fails:
    sys.exit("error: this shard is damaged")
with open(output, "w") as file:
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    json.dump({"gpus": [g for g in gpus if g], "start": start, "end": time.time()}, file)
"""

SNAKEFILE = """
SHARDS = range(4)


rule all:
    input:
        expand("shards/{shard}.json", shard=SHARDS),
        "training.json",


rule train_segmenter:
    output:
        "training.json",
    resources:
        mpi="", nodes=1, devices="auto", workers=1, micro_batches=1, launcher="",
    shell:
        "{resources.launcher} python stub.py {output} 1 succeeds"


rule evaluate_shard:
    output:
        "shards/{shard}.json",
    log:
        "logs/{shard}.log",
    resources:
        launcher="",
    params:
        how=lambda wildcards: config.get("fails") == int(wildcards.shard) and "fails" or "succeeds",
    shell:
        "{resources.launcher} python stub.py {output} SECONDS {params.how} 2> {log}"
"""


class Stubs:
    """The workflow in a folder of its own, with the project's profiles.

    Args:
        folder: where.
        seconds: that a shard takes.
    """

    def __init__(self, folder: Path, seconds: float):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "stub.py").write_text(STUB)
        (folder / "Snakefile").write_text(SNAKEFILE.replace("SECONDS", str(seconds)))
        for profile in ("local", "slurm"):
            shutil.copytree(ROOT / profile, folder / profile)

    def record(self, name: str) -> dict:
        return json.loads((self.folder / f"{name}.json").read_text())

    def shards(self) -> dict[int, dict]:
        """Records of the shards that were made, by number."""
        found = sorted((self.folder / "shards").glob("*.json"))
        return {int(path.stem): json.loads(path.read_text()) for path in found}


def overlap(one: dict, other: dict) -> bool:
    """Whether two records were made at the same time."""
    return one["start"] < other["end"] and other["start"] < one["end"]

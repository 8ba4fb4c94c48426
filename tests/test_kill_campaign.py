"""The campaign of kills: every long rule, killed in every way, at random moments.

A rule is killed several times; each time the same command goes on with what it finds. Then it may
finish, and at the end everything has the bytes of a run that nobody disturbed. The campaign prints
how many kills were tried, ended as promised, and failed, by kind and by rule, and how much work was
done again.
"""

import random
import re
import time
from collections import Counter
from pathlib import Path

import pytest
from killing import KilledProject, kill, processes_of, wait
from project import reduced

pytestmark = pytest.mark.long

SEED = 0
KINDS = ("group", "snakemake", "child", "worker", "SIGTERM", "SIGINT")
KILLS_OF_EACH = 4
# Seconds of work that may be done again, where what is made is kept on the way.
MOST_AGAIN = 60.0
RULES = {  # in the order of the pipeline: what is asked for, and where the rule keeps its work
    "convert_benchmark": ("datasets", "data/mini/benchmarks/*/partial/**/*"),
    "clip_weights": ("results/mini/clip/seed=0/clip.safetensors", ""),
    "train_segmenter": (
        "results/mini/segmenter/seed=0/segmenter.safetensors",
        "results/mini/segmenter/seed=0/work/checkpoint.pt",
    ),
    "mine_shard": (
        "results/mini/pairs/seed=0/pairs.jsonl",
        "results/mini/pairs/seed=0/shards/*.journal",
    ),
    "finetune_clip": ("results/mini/finetuned_clip/seed=0/clip.safetensors", ""),
    "fuse_weights": ("train", ""),
    "evaluate_shard": (
        "results/mini/eval/seed=0/mini_ade_36/metrics.json",
        "results/mini/eval/seed=0/*/evaluated/**/*",
    ),
    "search_settings": ("searches", "results/mini/search/settings/work/**/*"),
    "tables": ("all", ""),
    "release": ("all", ""),
}
KEPT_ON_THE_WAY = ("mine_shard", "evaluate_shard", "search_settings")


def longer(params) -> None:
    """The reduced recipe, with rules that last long enough to be killed while they work."""
    reduced(params)
    recipe = params["recipes"]["mini"]
    recipe["clip"]["pretraining"].update(steps=20)
    recipe["segmenter"]["training"].update(steps=16, checkpoint_every=2)
    recipe["clip_finetune"].update(epochs=4)
    recipe["clip_finetune"]["pairs"]["images"] = 60
    datasets = recipe["datasets"]
    datasets["miniworld"].update(training_images=60, tuning_images=20, test_images=60)
    for name, benchmark in datasets["benchmarks"].items():
        benchmark["images"] = {"train": 60 if name == datasets["train"] else 20, "val": 60}
    params["searches"] = {"settings": {**params["searches"]["settings"], "trials": 40}}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> KilledProject:
    project = KilledProject(tmp_path_factory.mktemp("undisturbed"))
    project.edit(longer)
    assert wait(project.start("all", "searches"), 900) == 0, project.log()
    assert project.leftovers() == []
    return project


class Campaign:
    """A project, and what its kills have come to.

    Args:
        project: of which nothing is made yet.
        durations: of each rule, seconds, undisturbed.
    """

    def __init__(self, project: KilledProject, durations: dict[str, float]):
        self.project, self.durations = project, durations
        self.rng = random.Random(SEED)
        self.tried: Counter[tuple[str, str]] = Counter()
        self.failed: Counter[tuple[str, str]] = Counter()
        self.problems: list[str] = []
        self.again: dict[str, list[float]] = {rule: [] for rule in RULES}
        self.continued: dict[str, list[str]] = {rule: [] for rule in RULES}

    def kill(self, rule: str, kind: str) -> bool:
        """Start the workflow, and kill it at a random moment of a rule; False: too late."""
        target, kept = RULES[rule]
        try:
            # Of a rule that has finished, because it was not killed in time, another run.
            for words in ([target], ["--forcerun", rule, "--", target]):
                started = self.project.start(*words)
                begun = None
                while begun is None and started.poll() is None:
                    time.sleep(0.02)
                    if processes_of(rule, self.project.folder):
                        begun = time.time()
                if started.poll():
                    self._fail(rule, kind, "the same command did not go on")
                    return True
                if begun is not None:
                    break
            # What keeps its work is killed when there is some.
            earliest, latest = (0.4, 0.8) if rule in KEPT_ON_THE_WAY else (0.1, 1.0)
            moment = time.monotonic() + self.rng.uniform(earliest, latest) * self.durations[rule]
            while time.monotonic() < moment and started.poll() is None:
                time.sleep(0.02)
            if not (job := processes_of(rule, self.project.folder)):
                if wait(started, 300):
                    self._fail(rule, kind, "the same command did not go on")
                return False  # it was faster than it is otherwise
            kill(started, kind, self.rng, job[0])
            self.tried[rule, kind] += 1
            self._note(rule, begun, kept)
            wait(started, 300)
        except Exception as error:
            self._fail(rule, kind, repr(error))
        return True

    def finish(self, rule: str) -> None:
        """Let it finish, and look whether it does."""
        if wait(self.project.start(RULES[rule][0]), 600):
            self._fail(rule, "any", f"it does not finish: {self.project.log()[-3000:]}")
        self._read_log(rule)

    def _note(self, rule: str, begun: float, kept: str) -> None:
        """How much work is lost: since something was kept, or since the rule began."""
        times = [begun]
        for path in self.project.folder.glob(kept) if kept else ():
            try:
                times.append(path.stat().st_mtime)
            except FileNotFoundError:
                continue
        self.again[rule].append(time.time() - max(times))
        self._read_log(rule)

    def _read_log(self, rule: str) -> None:
        """What a rule has said of going on."""
        for log in (self.project.folder / "logs/mini" / rule).rglob("*.log"):
            said = re.findall(r"continuing after [^\n\r]*|\d+ of \d+ images were[^\n\r]*",
                              log.read_text(errors="replace"))  # fmt: skip
            self.continued[rule] += said

    def _fail(self, rule: str, kind: str, why: str) -> None:
        self.failed[rule, kind] += 1
        self.problems.append(f"{rule}, {kind}: {why}")

    def table(self) -> str:
        lines = [f"{'tried':>6} {'ok':>4} {'failed':>7}"]

        def line(name: str, position: int) -> str:
            tried = sum(n for key, n in self.tried.items() if key[position] == name)
            failed = sum(n for key, n in self.failed.items() if key[position] == name)
            return f"{tried:6} {tried - failed:4} {failed:7}  {name}"

        lines += [line(kind, 1) for kind in KINDS]
        for rule in RULES:
            again = self.again[rule]
            most = f", at most {max(again):.1f} s again" if again else ""
            lines.append(line(rule, 0) + most)
            lines += [f"{'':21}{said}" for said in dict.fromkeys(self.continued[rule])]
        total, failed = self.tried.total(), self.failed.total()
        return "\n".join([*lines, f"{total:6} {total - failed:4} {failed:7}"])


def duration(project: KilledProject, rule: str) -> float:
    """Of a rule's runs, as Snakemake has measured it: the longest.

    Of those that are to be killed in the midst of their work, the shortest: alone they are faster.
    """
    timings = project.folder / "results/mini/timings"
    files = [*timings.glob(f"{rule}.tsv"), *timings.glob(f"{rule}/**/*.tsv")]
    chosen = min if rule in KEPT_ON_THE_WAY else max
    return chosen(float(file.read_text().splitlines()[1].split("\t")[0]) for file in files)


def test_the_campaign_of_kills(undisturbed, tmp_path: Path):
    project = KilledProject(tmp_path)
    project.edit(longer)
    campaign = Campaign(project, {rule: duration(undisturbed, rule) for rule in RULES})
    turn = 0
    for rule in RULES:
        for _ in range(KILLS_OF_EACH):
            any(campaign.kill(rule, KINDS[turn % len(KINDS)]) for _ in range(3))
            turn += 1
        campaign.finish(rule)
    if wait(project.start("all", "searches"), 600):
        campaign.problems.append(f"not all is made: {project.log()[-3000:]}")
    print(f"\n{campaign.table()}")
    assert campaign.problems == []
    assert campaign.tried.total() >= 30
    assert project.leftovers() == []
    ours, theirs = project.digests(), undisturbed.digests()
    assert [
        name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)
    ] == []
    for rule in KEPT_ON_THE_WAY:
        assert max(campaign.again[rule]) < MOST_AGAIN, rule

"""What a recipe costs before it is run: GPU hours, disk, and what a person has to fetch.

GPU hours are an estimate: FLOP counts of the networks at the rate of a named GPU. Every number that
is not counted but guessed stands here with its reason.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ruamel.yaml import YAML
from tabulate import tabulate  # type: ignore[import-untyped]

from scan_core.datasets.archives import ARCHIVES, BACKBONE_ARCHIVES
from scan_core.datasets.formats import archives_of
from scan_core.errors import InputError
from scan_core.params.data_names import images_of
from scan_core.params.grid import Cell, cells_of, rows_of, trained_stages
from scan_core.params.needed_files import used_benchmarks
from scan_core.params.schema.grids import Ablation, Params
from scan_core.params.schema.recipe import Recipe
from scan_core.params.settings import TestSettings, settings_table


class Rate(NamedTuple):
    """10¹² FLOP/s of large matrix products in float32, in TF32, and in bfloat16 or float16."""

    float32: float
    tf32: float
    bfloat16: float


# About a third of what the makers state: what large networks reach. Not measured by this project.
GPUS = {
    "h100": Rate(20, 160, 280),
    "h200": Rate(20, 160, 280),
    "a100": Rate(10, 50, 100),
    "v100": Rate(8, 8, 8),
}


class Flops(NamedTuple):
    """10¹² FLOP of a network, counted by PyTorch's `FlopCounterMode`.

    Attributes:
        proposals: everything but CLIP on crops, for one image of 640 × 864.
        training: a training image of 640 × 640, forwards and backwards.
        crop: CLIP's image tower on one crop, forwards.
    """

    proposals: float
    training: float
    crop: float


FLOPS = {"ViT-B-16": Flops(0.646, 1.451, 0.0327), "ViT-L-14": Flops(0.820, 1.717, 0.1564)}
# OVSeg's count on COCO, which the mining repeats: pairs for one caption of each of 118,287 images.
PAIRS_PER_IMAGE = 442_117 / 118_287
# Of one model, in 10⁹ bytes: the fused model, which holds both CLIPs; each CLIP and the segmenter
# beside it; and the checkpoint of a training while it runs (weights and two moments).
GB = {"ViT-B-16": (1.5, 1.1, 1.5), "ViT-L-14": (3.4, 2.2, 1.5)}
# Label maps of a benchmark, 10⁹ bytes for each image, and the smaller copies of ADE20K-847.
GB_PER_LABEL, GB_PER_SMALLER_IMAGE = 12e-6, 80e-6


@dataclass(frozen=True)
class Gpus:
    """GPUs of one kind: its name in `GPUS`, and how many."""

    name: str
    count: int

    def hours(self, tflop: Mapping[str, float]) -> float:
        """GPU hours of 10¹² FLOP by precision."""
        rate = GPUS[self.name]
        by_precision: dict[str, float] = {**rate._asdict(), "float16": rate.bfloat16}
        return sum(amount / by_precision[one] / 3600 for one, amount in tflop.items())


def gpus_of(profile: Path) -> Gpus:
    """The GPUs of a training, as a profile for SLURM names them; without a kind they are H100.

    Raises:
        InputError: the rates of this kind are not known.
    """
    site = YAML(typ="safe").load(profile)["__variables__"]
    _, _, kind = str(site["gpu"]).lower().partition(":")
    name = (kind or "h100").split("_")[0].split("-")[0]
    if name not in GPUS:
        raise InputError(
            f"{profile}: gpu: the rates of '{kind}' are unknown, only those of {', '.join(GPUS)}; "
            "add them to scan_core/params/plan.py"
        )
    return Gpus(name, int(site["nodes"]) * int(site["gpus_per_node"]))


def plan(params: Params, gpus: Gpus, jobs: Mapping[str, tuple[int, int]]) -> str:
    """The plan of the recipe that `params` names, with the grids that it names, for people.

    Args:
        params: as it is to be run.
        gpus: for which hours are told.
        jobs: rule -> its jobs, and how many of them are left to do.
    """
    recipe = params.recipes[params.recipe]
    # The recipe itself, as a grid of which nothing varies, and those that it names.
    grids = [Ablation(vary={}), *(params.ablations[name] for name in recipe.grids)]
    cells = [cell for grid in grids for cell in cells_of(recipe, grid) if cell.seed == recipe.seed]
    evaluated = defaultdict[tuple[str, str], list[TestSettings]](list)
    for row in (row for grid in grids for row in rows_of(recipe, grid, every_seed=False)):
        settings = TestSettings.from_dict(row["settings"])
        evaluated[row["model"], row["benchmark"]].append(settings)

    rows = [[rule, total, left] for rule, (total, left) in jobs.items()]
    rows.append(["together", *map(sum, zip(*jobs.values(), strict=True))])
    work = []
    for rule, models, amount, tflop in _work(recipe, cells, evaluated):
        hours = gpus.hours(tflop)
        known = [hours, hours / gpus.count] if hours else ["–", "–"]
        work.append([rule, models, amount, ", ".join(sorted(tflop)), *known])
    header = ["rule", "models", "work", "precision", "GPU hours", f"hours on {gpus.count}"]
    trained = trained_stages(recipe, grids)
    read = _read_images(recipe, trained)
    archives = _archives(recipe, read, trained)
    formats = [recipe.datasets.benchmarks[name].format for name in read]
    images = [sum(number or 0 for number in splits.values()) for splits in read.values()]
    copied = sum(n for name, n in zip(formats, images, strict=True) if name == "ade20k_847")
    # Of the benchmarks of a format, the raw images are the same.
    raw = {name: n for n, name in sorted(zip(images, formats, strict=True))}
    files = 2 * sum(raw.values()) + sum(images) + copied
    converted = GB_PER_LABEL * sum(images) + GB_PER_SMALLER_IMAGE * copied
    disk = list(_disk(recipe, cells, archives, converted))
    disk.append(("together", sum(size for _, size in disk)))
    by_hand = [(name, ARCHIVES[name].how_to_obtain) for name in archives]
    told = [f"{recipe.datasets.root}/manual/{name}: {how}" for name, how in by_hand if how]
    return "\n\n".join(
        [
            f"Recipe {params.recipe}: what `all` takes",
            _table(["rule", "jobs", "left to do"], rows),
            _table(header, work),
            f"Hours are an estimate: FLOP counts of the networks at {GPUS[gpus.name].tf32:g}·10¹² "
            f"FLOP/s in TF32\nand {GPUS[gpus.name].bfloat16:g}·10¹² in bfloat16 for each "
            f"{gpus.name.upper()}. Reading, and all but matrix products,\ncomes on top. "
            "slurm/profile.yaml names the GPUs. Without an estimate (–): the recipe `mini`\nneeds "
            "no GPU, about eight minutes on two cores for everything.",
            _table(["disk, estimated", "GB"], disk),
            f"Files of the data, about: {files:,}",
            "\n  ".join(["To be obtained by hand:", *(told or ["nothing"])]),
        ]
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return str(tabulate(rows, header, tablefmt="simple", floatfmt=",.1f", intfmt=","))


_Work = tuple[str, int, str, Mapping[str, float]]


def _work(
    recipe: Recipe,
    cells: Sequence[Cell],
    evaluated: Mapping[tuple[str, str], Sequence[TestSettings]],
) -> Iterator[_Work]:
    """Rules that take long: models, work in words, and 10¹² FLOP by precision (0: unknown)."""
    flops = FLOPS.get(str(recipe.clip.architecture), Flops(0, 0, 0))

    trained = [cell.recipe.segmenter.training for cell in _distinct(cells, "segmenter")]
    images = sum(one.steps * one.batch_size for one in trained)
    precision = _precision(recipe.segmenter.training.precision)
    steps = f"{sum(one.steps for one in trained):,} steps"
    if trained:
        yield "train_segmenter", len(trained), steps, {precision: images * flops.training}

    miners = [cell.mining_recipe for cell in _distinct(cells, "pairs")]
    mined = sum(map(_mined_images, miners))
    pairs = recipe.clip_finetune.pairs
    tflop = defaultdict[str, float](float)
    tflop[_of_the_rest(pairs.precision)] += mined * flops.proposals
    tflop[pairs.precision] += mined * pairs.proposals * flops.crop
    if miners:
        yield "mine_mask_text_pairs", len(miners), f"{mined:,} images", tflop

    tuned = [cell.mining_recipe for cell in _distinct(cells, "finetuned_clip")]
    read = [_mined_images(one) * PAIRS_PER_IMAGE * one.clip_finetune.epochs for one in tuned]
    batches = zip(read, tuned, strict=True)
    tuning_steps = sum(int(n) // one.clip_finetune.batch_size for n, one in batches)
    precision = _precision(recipe.clip_finetune.precision)
    if tuned:
        # A crop forwards and backwards, and the whole image forwards.
        of_tuning = {precision: sum(read) * 4 * flops.crop}
        yield "finetune_clip", len(tuned), f"about {tuning_steps:,} steps", of_tuning

    images, passes, queries = 0, 0, recipe.segmenter.mask_decoder.queries
    tflop = defaultdict(float)
    for (_, benchmark), settings in evaluated.items():
        count = recipe.datasets.benchmarks[benchmark].images["val"] or 0
        crops = {
            (
                *(one.precision, one.view, one.crop_threshold, one.crop_expansion),
                *(one.replace_ratio, one.replace_layers if one.replace_ratio else ()),
            )
            for one in settings
        }
        images, passes = images + count, passes + count * len(crops)
        for precision, _ in {crop[:2] for crop in crops}:
            tflop[_of_the_rest(precision)] += count * flops.proposals
        for precision, *_ in crops:
            tflop[precision] += count * queries * flops.crop
    amount = f"{images:,} images, CLIP {passes / max(1, images):.1f} times each"
    yield "evaluate_shard", len(_distinct(cells, "model")), amount, tflop

    if recipe.diagnosis.enabled:
        images, tflop = 0, defaultdict(float)
        for benchmark, one in settings_table(recipe).benchmarks.items():
            of_splits = images_of(recipe, benchmark, recipe.trains).values()
            count = sum(min(recipe.diagnosis.images or n or 0, n or 0) for n in of_splits)
            images += count
            tflop[_of_the_rest(one.precision)] += count * flops.proposals
            # The proposals; true segments, far fewer than queries, come on top.
            tflop[one.precision] += count * queries * flops.crop
        yield "diagnose", 1, f"{images:,} images", tflop


def _of_the_rest(precision: str) -> str:
    """In which everything but CLIP on crops runs."""
    return "float32" if precision == "float32" else "tf32"


def _precision(of_fabric: str) -> str:
    return "bfloat16" if of_fabric.startswith("bf16") else "float32"


def _distinct(cells: Sequence[Cell], stage: str) -> list[Cell]:
    """A cell for each variant of a stage that is made, and not taken from a file."""
    made = (cell for cell in cells if stage in cell.names and not cell.imported(stage))
    return list({cell.names[stage]: cell for cell in made}.values())


def _mined_images(recipe: Recipe) -> int:
    train = recipe.datasets.benchmarks[recipe.datasets.train].images["train"] or 0
    return min(train, recipe.clip_finetune.pairs.images or train)


_Images = Mapping[str, Mapping[str, int | None]]


def _read_images(recipe: Recipe, trained: Collection[str]) -> _Images:
    """Benchmark -> the splits that are converted, and their images."""
    names = used_benchmarks(recipe, bool(trained))
    return {name: images_of(recipe, name, bool(trained)) for name in names}


def _disk(
    recipe: Recipe, cells: Sequence[Cell], needed: Sequence[str], converted: float
) -> Iterator[tuple[str, float]]:
    """What lies on the disk, and its 10⁹ bytes.

    Args:
        recipe: that is planned.
        cells: of it and of its grids.
        needed: archives.
        converted: 10⁹ bytes of the benchmarks.
    """
    archives = {name: ARCHIVES[name].approximate_gb for name in needed}
    if archives:
        yield "archives (may be deleted once extracted)", sum(archives.values())
        unpacked = archives.keys() - set(BACKBONE_ARCHIVES.values())
        yield "extracted", sum(archives[name] for name in unpacked)
    yield "benchmarks", converted
    if sizes := GB.get(str(recipe.clip.architecture)):
        fused, beside, checkpoint = sizes
        models, segmenters = (len(_distinct(cells, stage)) for stage in ("model", "segmenter"))
        yield f"models ({models})", models * (fused + beside)
        yield "checkpoints of trainings, while they run", checkpoint * segmenters


def _archives(recipe: Recipe, read: _Images, trained: Collection[str]) -> list[str]:
    """The archives that a recipe's data and backbone are made from."""
    splits = defaultdict[str, set[str]](set)
    for name, of in read.items():
        if recipe.datasets.source == "download" and recipe.datasets.benchmarks[name].raw is None:
            splits[recipe.datasets.benchmarks[name].format].update(of)
    names = archives_of(splits)
    backbone = recipe.segmenter.backbone.weights
    if "segmenter" in trained and backbone.startswith("download:"):
        names.append(BACKBONE_ARCHIVES[backbone.removeprefix("download:")])
    return names

"""What a recipe costs before it is run: steps, GPU hours, disk, and what a person has to fetch.

GPU hours are FLOP counts at the rate of a named GPU (`params.gpus`). Every number that is not
counted but guessed stands in `PAIRS_PER_IMAGE` and `GB`, with its reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scan_core.datasets.archives import ARCHIVES, BACKBONE_ARCHIVES
from scan_core.datasets.formats import FORMATS
from scan_core.params.gpus import FLOPS, Flops, Gpus
from scan_core.params.grid import Cell, Row, benchmarks_of, cell_of, cells_of, rows_of
from scan_core.params.resolution import resolve_settings
from scan_core.params.schema.file import Params
from scan_core.params.schema.recipe import Recipe
from scan_core.params.settings import TestSettings

# OVSeg's count on COCO, which the mining repeats: pairs for one caption of each of 118,287 images.
PAIRS_PER_IMAGE = 442_117 / 118_287
# Of one model, in 10⁹ bytes: the fused model, which holds both CLIPs, and each CLIP and segmenter
# beside it; and the checkpoint of a training while it runs (weights and two moments).
GB = {"ViT-B-16": (1.5, 1.1, 1.5), "ViT-L-14": (3.4, 2.2, 1.5)}
# Label maps of a benchmark, 10⁹ bytes for each image, and the smaller copies of ADE20K-847.
GB_PER_LABEL, GB_PER_SMALLER_IMAGE = 12e-6, 80e-6


@dataclass(frozen=True)
class Work:
    """One row of the plan.

    Attributes:
        rule: whose work it is.
        models: that it is done for.
        amount: of it, in words.
        hours: of one GPU, at least; None: no estimate, or no GPU needed.
        precision: of its products.
        at_once: GPUs that can work at it at the same time; None: all.
    """

    rule: str
    models: int
    amount: str
    hours: float | None
    precision: str
    at_once: int | None = None


@dataclass(frozen=True)
class Plan:
    """What a recipe's target `all` takes.

    Attributes:
        recipe: its name.
        work: of the rules that take long.
        disk: 10⁹ bytes by what lies there.
        by_hand: where an archive has to be placed -> how a person gets it.
        files: of the data, about.
        gpus: for which hours are told.
        passes: of CLIP over the crops of an image, on average over a model's benchmarks, for the
            recipe's own model; and what they would be if all thresholds had the same crops.
        grids: of the recipe -> its cells, and on how many benchmarks each is evaluated.
    """

    recipe: str
    work: Sequence[Work]
    disk: Mapping[str, float]
    by_hand: Mapping[str, str]
    files: int
    gpus: Gpus
    passes: tuple[float, float]
    grids: Mapping[str, tuple[int, int]]


def plan_of(params: Params, gpus: Gpus) -> Plan:
    """The plan of the recipe that `params` names, with the grids that it names."""
    recipe = params.recipes[params.recipe]
    grids = [params.ablations[name] for name in recipe.grids]
    cells = [cell_of(recipe, {}, recipe.seed)]
    cells += [cell for grid in grids for cell in cells_of(recipe, grid) if cell.seed == recipe.seed]
    rows = [row for grid in grids for row in rows_of(recipe, grid, every_seed=False)]
    shown = _shown(recipe, cells, rows)
    main = [settings for (model, _), settings in shown.items() if model == cells[0].names["model"]]
    archives = _archives(recipe)
    return Plan(
        params.recipe,
        _work(recipe, cells, shown, gpus),
        _disk(recipe, cells, archives),
        {
            f"{recipe.datasets.root}/manual/{name}": how
            for name in archives
            if (how := ARCHIVES[name].how_to_obtain)
        },
        _files(recipe),
        gpus,
        (
            sum(len(_crops(settings)) for settings in main) / len(main),
            sum(len({crops[2:] for crops in _crops(settings)}) for settings in main) / len(main),
        ),
        {
            name: (
                sum(cell.seed == recipe.seed for cell in cells_of(recipe, grid)),
                len(benchmarks_of(recipe, grid)),
            )
            for name, grid in zip(recipe.grids, grids, strict=True)
        },
    )


def as_text(plan: Plan, jobs: Mapping[str, tuple[int, int]]) -> str:
    """A plan for people.

    Args:
        plan: what is printed.
        jobs: rule -> its jobs, and how many of them are left to do.
    """
    everything = tuple(map(sum, zip(*jobs.values(), strict=True)))
    rows = [[rule, str(total), str(left)] for rule, (total, left) in jobs.items()]
    rows.append(["together", *map(str, everything)])
    parts = [
        f"Recipe {plan.recipe}: what `all` takes",
        _aligned(["rule", "jobs", "left to do"], rows),
    ]

    if plan.grids:
        rows = [[name, *map(str, counts)] for name, counts in plan.grids.items()]
        parts.append(_aligned(["grid", "cells", "benchmarks"], rows))
        parts.append(f"Its cells one by one: python -m workflow_scripts.show_grid {rows[0][0]}")

    estimated = [work.hours for work in plan.work if work.hours is not None]
    gpus = plan.gpus
    rows = [
        [
            work.rule,
            str(work.models),
            work.amount,
            work.precision,
            *(
                ["–", "–"]
                if work.hours is None
                else [f"{work.hours:,.1f}", f"{_wall(work, gpus.count):,.1f}"]
            ),
        ]
        for work in plan.work
    ]
    if estimated:
        wall = sum(_wall(work, gpus.count) for work in plan.work)
        rows.append(["together", "", "", "", f"{sum(estimated):,.1f}", f"{wall:,.1f}"])
    header = ["rule", "models", "work", "precision", "GPU hours", f"hours on {gpus.count}"]
    parts.append(_aligned(header, rows))
    parts.append(
        f"Hours are FLOP counts of the networks at the rate of one {gpus.name}, in 10¹² FLOP/s:\n"
        f"{gpus.float32:g} in float32, {gpus.tf32:g} in TF32, {gpus.bfloat16:g} in bfloat16.\n"
        "They are the least that is possible: reading, and whatever is no matrix product, comes\n"
        "on top. `gpu`, `nodes` and `gpus_per_node` of slurm/profile.yaml name the GPUs;\n"
        "scan_core/params/gpus.py has the rates and counts."
        if estimated
        else "There is no estimate for this CLIP. The recipe `mini` needs no GPU: about eight\n"
        "minutes on two cores for everything."
    )
    passes, fewer = plan.passes
    if passes > fewer:
        parts.append(
            f"CLIP looks at the crops of an image {passes:.1f} times. With a number for\n"
            f"inference.crop_threshold, in place of 'mask_threshold', it would be {fewer:.1f} "
            "times:\na grid over mask_threshold would cost nothing."
        )

    rows = [[what, f"{size:,.1f}"] for what, size in plan.disk.items()]
    rows.append(["together", f"{sum(plan.disk.values()):,.1f}"])
    parts.append(_aligned(["disk, estimated", "GB"], rows))
    parts.append(f"Files of the data, about: {plan.files:,}")
    lines = [f"  {name}: {how}" for name, how in plan.by_hand.items()] or ["  nothing"]
    parts.append("\n".join(["To be obtained by hand:", *lines]))
    return "\n\n".join(parts)


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of words, aligned to the left, and of numbers, to the right."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    words = ("rule", "grid", "work", "precision", "disk, estimated")
    return "\n".join(
        "  "
        + "  ".join(
            cell.ljust(width) if name in words else cell.rjust(width)
            for name, cell, width in zip(header, line, widths, strict=True)
        )
        for line in lines
    )


def _wall(work: Work, gpus: int) -> float:
    """Hours that some work takes on so many GPUs, one model after the other."""
    if work.hours is None:
        return 0.0
    return work.hours / min(gpus, work.at_once or gpus)


_Shown = Mapping[tuple[str, str], Sequence[TestSettings]]


def _shown(recipe: Recipe, cells: Sequence[Cell], rows: Sequence[Row]) -> _Shown:
    """(model, benchmark) -> all settings that are evaluated, of the recipe's own and its grids."""
    shown: dict[tuple[str, str], list[TestSettings]] = {}
    for benchmark in recipe.inference.benchmarks:
        settings = resolve_settings(recipe, benchmark)
        shown[cells[0].names["model"], benchmark] = [settings]
    for row in rows:
        shown.setdefault((row.model, row.benchmark), []).append(row.settings)
    return shown


def _crops(settings: Sequence[TestSettings]) -> set[tuple[object, ...]]:
    """What CLIP is shown: one entry for each pass over the crops of an image.

    The threshold of the crops comes second, the precision last.
    """
    return {
        (
            None,
            one.crop_threshold,
            one.view,
            one.crop_expansion,
            one.replace_ratio,
            one.replace_layers if one.replace_ratio else (),
            one.precision,
        )
        for one in settings
    }


def _of_the_rest(precision: str) -> str:
    """In which everything but CLIP on crops runs."""
    return "float32" if precision == "float32" else "tf32"


def _work(recipe: Recipe, cells: Sequence[Cell], shown: _Shown, gpus: Gpus) -> list[Work]:
    flops = FLOPS.get(str(recipe.clip.architecture), Flops(0, 0, 0))

    def hours(tflop: float, precision: str) -> float | None:
        return tflop / gpus.rate(precision) / 3600 if flops.crop else None

    segmenters = _distinct(cells, "segmenter")
    steps = sum(cell.recipe.segmenter.training.steps for cell in segmenters)
    trained = sum(
        cell.recipe.segmenter.training.steps * cell.recipe.segmenter.training.batch_size
        for cell in segmenters
    )
    training = _precision(recipe.segmenter.training.precision)
    miners = _distinct(cells, "pairs")
    mined = sum(_mined_images(cell.mining_recipe) for cell in miners)
    mining = recipe.clip_finetune.pairs.precision
    of_crops = recipe.clip_finetune.pairs.proposals * flops.crop
    mining_hours = _sum_of(
        hours(mined * flops.proposals, _of_the_rest(mining)), hours(mined * of_crops, mining)
    )
    tuned = [cell.mining_recipe for cell in _distinct(cells, "finetuned")]
    pairs = [_mined_images(one) * PAIRS_PER_IMAGE * one.clip_finetune.epochs for one in tuned]
    tuning_steps = sum(
        int(n) // one.clip_finetune.batch_size for n, one in zip(pairs, tuned, strict=True)
    )
    tuning = _precision(recipe.clip_finetune.precision)
    queries = recipe.segmenter.mask_decoder.queries
    images, passes = 0, 0
    tflop: dict[str, float] = {}
    for (_, benchmark), settings in shown.items():
        count = recipe.datasets.benchmarks[benchmark].images["val"] or 0
        views = {(one.view, _of_the_rest(one.precision)) for one in settings}
        looks = _crops(settings)
        images, passes = images + count, passes + count * len(looks)
        for *_, precision in views:
            tflop[precision] = tflop.get(precision, 0) + count * flops.proposals
        for look in looks:
            precision = str(look[-1])
            tflop[precision] = tflop.get(precision, 0) + count * queries * flops.crop
    return [
        Work(
            "train_segmenter",
            len(segmenters),
            f"{steps:,} steps",
            hours(trained * flops.training, training),
            training,
        ),
        Work(
            "mine_mask_text_pairs",
            len(miners),
            f"{mined:,} images",
            mining_hours,
            mining,
        ),
        # A crop forwards and backwards, and the whole image forwards.
        Work(
            "finetune_clip",
            len(tuned),
            f"about {tuning_steps:,} steps",
            hours(sum(pairs) * 4 * flops.crop, tuning),
            tuning,
        ),
        Work(
            "evaluate_shard",
            len(_distinct(cells, "model")),
            f"{images:,} images, CLIP {passes / max(1, images):.1f} times each",
            _sum_of(*(hours(amount, precision) for precision, amount in tflop.items())),
            ", ".join(sorted({one.precision for all_of in shown.values() for one in all_of})),
        ),
    ]


def _sum_of(*hours: float | None) -> float | None:
    """None, where one of them is not known."""
    known = [one for one in hours if one is not None]
    return sum(known) if len(known) == len(hours) else None


def _precision(of_fabric: str) -> str:
    return "bfloat16" if of_fabric.startswith("bf16") else "float32"


def _files(recipe: Recipe) -> int:
    """Image and label map of every raw image, once for each format, and what is converted."""
    raw: dict[str, int] = {}
    converted = 0
    for benchmark in recipe.datasets.benchmarks.values():
        images = sum(number or 0 for number in benchmark.images.values())
        raw[benchmark.format] = max(raw.get(benchmark.format, 0), images)
        converted += images * (2 if benchmark.format == "ade20k_847" else 1)
    return 2 * sum(raw.values()) + converted


def _disk(recipe: Recipe, cells: Sequence[Cell], archives: Sequence[str]) -> dict[str, float]:
    packed = sum(ARCHIVES[name].approximate_gb for name in archives)
    unpacked = sum(
        ARCHIVES[name].approximate_gb for name in archives if name not in BACKBONE_ARCHIVES.values()
    )
    disk = {}
    if packed:
        disk["archives (may be deleted once extracted)"] = packed
        disk["extracted"] = unpacked
    converted = 0.0
    for benchmark in recipe.datasets.benchmarks.values():
        each = GB_PER_LABEL + (GB_PER_SMALLER_IMAGE if benchmark.format == "ade20k_847" else 0)
        converted += each * sum(number or 0 for number in benchmark.images.values())
    disk["benchmarks"] = converted
    if sizes := GB.get(str(recipe.clip.architecture)):
        fused, beside, checkpoint = sizes
        models = len(_distinct(cells, "model"))
        disk[f"models ({models})"] = models * (fused + beside)
        disk["checkpoints of trainings, while they run"] = checkpoint * len(
            _distinct(cells, "segmenter")
        )
    return disk


def _distinct(cells: Sequence[Cell], stage: str) -> list[Cell]:
    """A cell for each variant of a stage."""
    return list({cell.names[stage]: cell for cell in cells}.values())


def _mined_images(recipe: Recipe) -> int:
    """Images that pairs are mined from."""
    train = recipe.datasets.benchmarks[recipe.datasets.train].images["train"] or 0
    return min(train, recipe.clip_finetune.pairs.images or train)


def _archives(recipe: Recipe) -> list[str]:
    """The archives that a recipe's data and backbone are made from."""
    names: dict[str, None] = {}
    if recipe.datasets.source == "download":
        for benchmark in recipe.datasets.benchmarks.values():
            names.update(dict.fromkeys(FORMATS[benchmark.format].archives))
    backbone = recipe.segmenter.backbone.weights
    if backbone.startswith("download:"):
        names[BACKBONE_ARCHIVES[backbone.removeprefix("download:")]] = None
    return list(names)

"""What a recipe costs before it is run: steps, GPU hours, disk, and what a person has to fetch.

Every number that is not counted but guessed stands in `ESTIMATES` and `GB`, with its reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scan_core.datasets.download.archives import ARCHIVES, BACKBONE_ARCHIVES, FORMAT_ARCHIVES
from scan_core.params.grid import Cell, cell_of, cells_of
from scan_core.params.schema.file import Params
from scan_core.params.schema.recipe import Recipe


@dataclass(frozen=True)
class Speed:
    """Images (or pairs) that one GPU of the A100's class does in a second. Estimates, not measured.

    Attributes:
        training: of the segmenter. FC-CLIP reports 3.2 days on eight V100 for 368,750 steps of 16
            images of 1024 px, 2.7 a second and GPU; images of 640 px have 2.6 times fewer
            pixels, an A100 in bfloat16 is about twice as fast, and here the backbone learns too.
        pairs: of the fine-tuning; what seven processes can read and crop, not what CLIP needs.
        mining: images; proposals and one pass of the frozen CLIP over up to 100 crops.
        evaluation: images; proposals, and one pass of CLIP over up to 100 crops.
    """

    training: float
    pairs: float
    mining: float
    evaluation: float


# By the CLIP of a recipe. Twice as fast and half as fast are both likely.
ESTIMATES = {
    "ViT-B-16": Speed(training=9.0, pairs=250.0, mining=5.0, evaluation=5.0),
    "ViT-L-14": Speed(training=7.0, pairs=200.0, mining=3.0, evaluation=3.0),
}
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
        hours: of one GPU; None: no estimate, or no GPU needed.
    """

    rule: str
    models: int
    amount: str
    hours: float | None


@dataclass(frozen=True)
class Plan:
    """What a recipe's target `all` takes.

    Attributes:
        recipe: its name.
        work: of the rules that take long.
        disk: 10⁹ bytes by what lies there.
        by_hand: where an archive has to be placed -> how a person gets it.
    """

    recipe: str
    work: Sequence[Work]
    disk: Mapping[str, float]
    by_hand: Mapping[str, str]


def plan_of(params: Params) -> Plan:
    """The plan of the recipe that `params` names, with the grids that it names."""
    recipe = params.recipes[params.recipe]
    grids = [params.ablations[name] for name in recipe.grids]
    cells = [cell_of(recipe, {}, recipe.seed)]
    cells += [cell for grid in grids for cell in cells_of(recipe, grid) if cell.seed == recipe.seed]
    archives = _archives(recipe)
    return Plan(
        params.recipe,
        _work(recipe, cells),
        _disk(recipe, cells, archives),
        {
            f"{recipe.datasets.root}/manual/{name}": how
            for name in archives
            if (how := ARCHIVES[name].how_to_obtain)
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

    estimated = [work.hours for work in plan.work if work.hours is not None]
    rows = [
        [
            work.rule,
            str(work.models),
            work.amount,
            "–" if work.hours is None else f"{work.hours:,.0f}",
        ]
        for work in plan.work
    ]
    if estimated:
        rows.append(["together", "", "", f"{sum(estimated):,.0f}"])
    parts.append(_aligned(["rule", "models", "work", "GPU hours"], rows))
    parts.append(
        "GPU hours are estimates for a GPU of the A100's class, from published figures, not\n"
        "measured; twice and half as many are both likely. scan_core/params/plan.py says how."
        if estimated
        else "There is no estimate for this CLIP. The recipe `mini` needs no GPU: about ten\n"
        "minutes on two cores for everything."
    )

    rows = [[what, f"{size:,.1f}"] for what, size in plan.disk.items()]
    rows.append(["together", f"{sum(plan.disk.values()):,.1f}"])
    parts.append(_aligned(["disk, estimated", "GB"], rows))
    lines = [f"  {name}: {how}" for name, how in plan.by_hand.items()] or ["  nothing"]
    parts.append("\n".join(["To be obtained by hand:", *lines]))
    return "\n\n".join(parts)


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of words, aligned to the left, and of numbers, to the right."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    words = ("rule", "work", "disk, estimated")
    return "\n".join(
        "  "
        + "  ".join(
            cell.ljust(width) if name in words else cell.rjust(width)
            for name, cell, width in zip(header, line, widths, strict=True)
        )
        for line in lines
    )


def _work(recipe: Recipe, cells: Sequence[Cell]) -> list[Work]:
    speed = ESTIMATES.get(str(recipe.clip.architecture))

    def hours(amount: float, what: str) -> float | None:
        return None if speed is None else amount / getattr(speed, what) / 3600

    segmenters = _distinct(cells, "segmenter")
    steps = sum(cell.recipe.segmenter.training.steps for cell in segmenters)
    trained = sum(
        cell.recipe.segmenter.training.steps * cell.recipe.segmenter.training.batch_size
        for cell in segmenters
    )
    miners = _distinct(cells, "pairs")
    mined = sum(_mined_images(cell.mining_recipe) for cell in miners)
    models = _distinct(cells, "model")
    tuned = [cell.mining_recipe for cell in _distinct(cells, "finetuned")]
    passes_over = [_mined_images(one) * PAIRS_PER_IMAGE * one.clip_finetune.epochs for one in tuned]
    tuning_steps = sum(
        int(n) // one.clip_finetune.batch_size for n, one in zip(passes_over, tuned, strict=True)
    )
    images = sum(
        recipe.datasets.benchmarks[name].images["val"] or 0 for name in recipe.inference.benchmarks
    )
    passes = sum(_passes(cells, cell.names["model"]) for cell in models)
    return [
        Work("train_segmenter", len(segmenters), f"{steps:,} steps", hours(trained, "training")),
        Work("mine_mask_text_pairs", len(miners), f"{mined:,} images", hours(mined, "mining")),
        Work(
            "finetune_clip",
            len(tuned),
            f"about {tuning_steps:,} steps",
            hours(sum(passes_over), "pairs"),
        ),
        Work(
            "evaluate_shard",
            len(models),
            f"{images * len(models):,} images, CLIP {passes / len(models):.1f} times each",
            hours(images * passes, "evaluation"),
        ),
    ]


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


def _passes(cells: Sequence[Cell], model: str) -> int:
    """How often CLIP looks at the crops of an image: once for each replace ratio."""
    ratios = {str(c.recipe.inference.replace_ratio) for c in cells if c.names["model"] == model}
    return len(ratios)


def _archives(recipe: Recipe) -> list[str]:
    """The archives that a recipe's data and backbone are made from."""
    names: dict[str, None] = {}
    if recipe.datasets.source == "download":
        for benchmark in recipe.datasets.benchmarks.values():
            names.update(dict.fromkeys(FORMAT_ARCHIVES[benchmark.format]))
    backbone = recipe.segmenter.backbone.weights
    if backbone.startswith("download:"):
        names[BACKBONE_ARCHIVES[backbone.removeprefix("download:")]] = None
    return list(names)

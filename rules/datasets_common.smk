"""Names, paths and helper functions of the dataset rules."""

from scan_core.params.needed_files import raw_root, used_benchmarks

DATA = RECIPE.datasets.root
SOURCE = RECIPE.datasets.source
RAW = SOURCE.removeprefix("local:") if SOURCE.startswith("local:") else f"{DATA}/raw"
MANUAL = f"{DATA}/manual"
BENCHMARKS = RECIPE.datasets.benchmarks
USED = used_benchmarks(RECIPE)


def records_of(formats):
    """What must have been extracted or generated before these raw formats can be read."""
    if SOURCE == "download":
        archives = dict.fromkeys(a for name in formats for a in FORMATS[name].archives)
        return [f"{RAW}/extracted/{archive}.json" for archive in archives]
    if SOURCE == "generate":
        return [f"{RAW}/generated/{FORMATS[name].layout}.json" for name in formats]
    return []


def raw_data(wildcards):
    """What a benchmark's conversion waits for: records, or raw data that a person has put there.

    Of the latter only that it is there counts: folders change their times when they are looked at
    by some programs, and would convert, and train, all again.
    """
    raw_format = BENCHMARKS[wildcards.benchmark].format
    own = raw_root(RECIPE, wildcards.benchmark)
    if own is not None:
        return ancient(str(own / FORMATS[raw_format].folder))
    return records_of([raw_format])


def records_of_benchmarks(names):
    """The records of every archive or layout that these need, but for what a person has put there."""
    return records_of(
        sorted({BENCHMARKS[n].format for n in names if raw_root(RECIPE, n) is None})
    )


ALL_RAW_RECORDS = records_of_benchmarks(USED)


def converted_files():
    """What the conversions make, of the benchmarks in use."""
    files = []
    for name in USED:
        kinds = ["index.json", "labels"]
        if name in WITH_IMAGES:
            kinds.append("images")
        files += [f"{DATA}/benchmarks/{name}/{kind}" for kind in kinds]
    return files


# Benchmarks whose images are copied: the raw ones are larger than the benchmark's definition.
WITH_IMAGES = [name for name, b in BENCHMARKS.items() if b.format == "ade20k_847"]


def raw_format(wildcards):
    """The raw layout that a benchmark is converted from."""
    return BENCHMARKS[wildcards.benchmark].format


def class_list_name(wildcards):
    """The class list of a benchmark: a built-in name, or a path."""
    return BENCHMARKS[wildcards.benchmark].classes


def conversion_made_of(wildcards):
    classes = CLASS_LISTS[wildcards.benchmark]
    return made_of(
        "convert_benchmark",
        wildcards.benchmark,
        format=raw_format(wildcards),
        source=SOURCE,
        classes=[classes.names, classes.raw_ids],
        splits=splits(wildcards),
        options=conversion_options(wildcards),
    )


def verification_made_of(wildcards):
    return made_of(
        "verify_dataset", wildcards.benchmark, expected=expected_images(wildcards)
    )


def world_made_of(wildcards):
    return made_of(
        "generate_miniworld",
        wildcards.layout,
        data=["scan_core/vocabulary/data/mini_*.json"],
        seed=RECIPE.seed,
        image_size=RECIPE.datasets.miniworld.image_size,
        images=world_images(wildcards),
    )


def manifest_made_of(wildcards):
    return made_of("dataset_manifest", "all", source=SOURCE, benchmarks=list(USED))


def splits(wildcards):
    """The splits of a benchmark that the recipe converts, as `split=name in the raw data`."""
    benchmark = BENCHMARKS[wildcards.benchmark]
    return [f"{s}={benchmark.split_names.get(s, s)}" for s in benchmark.images]


def conversion_options(wildcards):
    """Options of a conversion that few benchmarks need."""
    benchmark = BENCHMARKS[wildcards.benchmark]
    options = ["--label-suffix", benchmark.label_suffix]
    if benchmark.image_suffix is not None:
        options += ["--image-suffix", benchmark.image_suffix]
    if RECIPE.faithful or RECIPE.datasets.released_label_reduction:
        options.append("--released-label-reduction")
    if wildcards.benchmark == RECIPE.datasets.train and CAPTIONS:
        options += ["--captions", str(CAPTIONS)]
    return options


def raw_folder(wildcards):
    """The folder of a benchmark's raw data: where a person has put it, or where rules make it."""
    return str(raw_root(RECIPE, wildcards.benchmark) or f"{DATA}/raw")


def expected_images(wildcards):
    """How many images each split must list, as `split=number`; unchecked splits are left out."""
    counts = BENCHMARKS[wildcards.benchmark].images
    return [
        f"{split}={number}" for split, number in counts.items() if number is not None
    ]


def world_images(wildcards):
    """Size of the train and val split of one layout of the miniature world."""
    world = RECIPE.datasets.miniworld
    train = world.training_images if wildcards.layout == "coco" else world.tuning_images
    return [f"train={train}", f"val={world.test_images}"]


def reading_threads(wildcards):
    """Processes that convert or verify a benchmark; few images are done before they have started.

    So small benchmarks are made side by side.
    """
    counts = BENCHMARKS[wildcards.benchmark].images.values()
    return 1 if None not in counts and sum(counts) < 1000 else 4


def drawing_threads(wildcards):
    """The same, for a layout of the miniature world."""
    return 2 if wildcards.layout == "coco" else 1


def archives_to_obtain_by_hand():
    """Archives that no server gives away, and that are not in place yet."""
    if SOURCE != "download":
        return []
    names = {Path(record).stem for record in ALL_RAW_RECORDS}
    return [
        archive
        for name, archive in ARCHIVES.items()
        if name in names
        and archive.how_to_obtain
        and not Path(RAW, "extracted", f"{name}.json").exists()
        and not Path(MANUAL, name).exists()
    ]


if workflow.is_main_process:
    for archive in archives_to_obtain_by_hand():
        logger.warning(
            f"To be obtained by hand: {archive.name} (about {archive.approximate_gb:g} GB). "
            f"{archive.how_to_obtain} Place it at {MANUAL}/{archive.name}."
        )

"""Names, paths and helper functions of the dataset rules."""

SOURCE = RECIPE.datasets.source
RAW = f"{DATA}/raw"
MANUAL = f"{DATA}/manual"
# Layout -> the root of its raw data.
WORLDS = (
    {layout: world_folder(RECIPE, layout) for layout in WORLD_LAYOUTS.values()}
    if SOURCE == "generate"
    else {}
)
# Benchmarks whose images are copied: the raw ones are larger than the benchmark's definition.
WITH_IMAGES = [name for name, b in BENCHMARKS.items() if b.format == "ade20k_847"]


def records_of(names):
    """What must have been extracted or generated before these benchmarks can be converted."""
    formats = {BENCHMARKS[n].format for n in names if raw_root(RECIPE, n) is None}
    if SOURCE == "download":
        archives = dict.fromkeys(
            a for f in sorted(formats) for a in FORMATS[f].archives
        )
        return [f"{RAW}/extracted/{archive}.json" for archive in archives]
    layouts = [WORLD_LAYOUTS[name] for name in sorted(formats)]
    return [f"{WORLDS[layout]}/{layout}.json" for layout in layouts]


def raw_data(wildcards):
    """What a conversion waits for: records, or raw data that a person has put there.

    The listing of the latter is in the benchmark's name; the time of the folder does not count.
    """
    name = name_of(wildcards.benchmark)
    own = raw_root(RECIPE, name)
    if own is not None:
        return ancient(str(own / RAW_FOLDERS[BENCHMARKS[name].format]))
    return records_of([name])


def converted_files():
    """What the conversions make, of the benchmarks in use."""
    kinds = {name: ["index.json", "labels"] for name in USED}
    for name in set(WITH_IMAGES) & set(USED):
        kinds[name].append("images")
    return [f"{FOLDERS[name]}/{kind}" for name in USED for kind in kinds[name]]


def splits(wildcards):
    """The splits of a benchmark that the recipe converts, as `split=name in the raw data`."""
    benchmark = of_benchmark(wildcards)
    return [f"{s}={benchmark.split_names.get(s, s)}" for s in benchmark.images]


def told_captions(wildcards):
    """The option for the captions that the training images must fit."""
    is_trained_on = name_of(wildcards.benchmark) == RECIPE.datasets.train
    captions = caption_file(RECIPE)[0] if is_trained_on else None
    return ["--captions", captions] if captions else []


def expected_images(wildcards):
    """How many images each split must list, as `split=number`; unchecked splits are left out."""
    counts = of_benchmark(wildcards).images
    return [f"{split}={n}" for split, n in counts.items() if n is not None]


def reading_threads(wildcards):
    """Processes that convert or verify a benchmark; few images are done before they have started.

    So small benchmarks are made side by side.
    """
    counts = of_benchmark(wildcards).images.values()
    return 1 if None not in counts and sum(counts) < 1000 else 4


# What the manifest depends on, an input of that leaf.
MANIFEST_FILE = leaf_input(
    f"{RECIPE_NAME}/manifest", SOURCE, reads=[FOLDERS[name] for name in USED]
)

if workflow.is_main_process and SOURCE == "download":
    for name in dict.fromkeys(Path(record).stem for record in records_of(USED)):
        archive = ARCHIVES[name]
        places = (Path(RAW, "extracted", f"{name}.json"), Path(MANUAL, name))
        if archive.how_to_obtain and not any(place.exists() for place in places):
            logger.warning(
                f"To be obtained by hand: {archive.name} (about {archive.approximate_gb:g} GB). "
                f"{archive.how_to_obtain} Place it at {MANUAL}/{archive.name}."
            )

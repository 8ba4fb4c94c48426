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
# The folders' names of all benchmarks that any target may ask for.
CONVERTED = {*VARIANTS.values(), Path(TRAINING).name}
# Benchmarks whose images are copied: the raw ones are larger than the benchmark's definition.
WITH_IMAGES = [name for name, b in BENCHMARKS.items() if b.format == "ade20k_847"]


def records_of(names, trains=TRAINS):
    """What must have been extracted or generated before these benchmarks can be converted."""
    made = [n for n in names if raw_root(RECIPE, n) is None]
    if SOURCE == "download":
        splits = {BENCHMARKS[n].format: set() for n in sorted(made)}
        for name in made:
            splits[BENCHMARKS[name].format] |= images_of(RECIPE, name, trains).keys()
        archives = archives_of(splits)
        return [f"{RAW}/extracted/{archive}.json" for archive in archives]
    formats = {BENCHMARKS[n].format for n in made}
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
    return records_of([name], "train" in images_of_variant(wildcards))


def converted_files():
    """What the conversions make, of the benchmarks in use."""
    kinds = {name: ["index.json", "labels"] for name in USED}
    for name in set(WITH_IMAGES) & set(USED):
        kinds[name].append("images")
    return [f"{FOLDERS[name]}/{kind}" for name in USED for kind in kinds[name]]


def splits(wildcards):
    """The splits of a benchmark that the recipe converts, as `split=name in the raw data`."""
    names = of_benchmark(wildcards).split_names
    return [f"{s}={names.get(s, s)}" for s in images_of_variant(wildcards)]


def told_captions(wildcards):
    """The option for the captions that the training images must fit."""
    is_trained_on = wildcards.benchmark == Path(TRAINING).name
    is_read = is_trained_on and "finetuned_clip" in TRAINED
    captions = caption_file(RECIPE)[0] if is_read else None
    return ["--captions", captions] if captions else []


def expected_images(wildcards):
    """How many images each split must list, as `split=number`; unchecked splits are left out."""
    counts = images_of_variant(wildcards)
    return [f"{split}={n}" for split, n in counts.items() if n is not None]


def reading_threads(wildcards):
    """Processes that convert or verify a benchmark; few images are done before they have started.

    So small benchmarks are made side by side.
    """
    counts = images_of_variant(wildcards).values()
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

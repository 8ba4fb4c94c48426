"""Names, paths and helper functions of the dataset rules."""

SOURCE = RECIPE.datasets.source
RAW = f"{DATA}/raw"
MANUAL = f"{DATA}/manual"
BENCHMARK = f"{DATA}/benchmarks/{{benchmark}}"
# Layout -> the root of its raw data.
LAYOUTS = [raw.layout for raw in RAW_DATA.values() if raw.layout and SOURCE == "generate"]
WORLDS = {layout: data.world_folder(RECIPE, layout) for layout in LAYOUTS}
# The folders' names of all benchmarks that any target may ask for.
CONVERTED = {*VARIANTS.values(), Path(TRAINING).name}
# Benchmarks whose images are copied: the raw ones are larger than the benchmark's definition.
WITH_IMAGES = [name for name, b in BENCHMARKS.items() if b.format == "ade20k_847"]
# The captions of the training images, and the digest of a file of one's own.
CAPTIONS, OWN_CAPTIONS = data.caption_file(RECIPE)


def images_of_variant(wildcards):
    """The splits of a job's benchmark, and how many images each must list."""
    trains = TRAINS or wildcards.benchmark == Path(TRAINING).name
    return data.images_of(RECIPE, benchmark_of(wildcards), trains)


def records_of(names, trains=TRAINS, mines="finetuned_clip" in TRAINED):
    """What must have been extracted or generated before these benchmarks can be converted.

    Args:
        trains: whether the `train` split of the benchmark that is trained on is read.
        mines: whether pairs are mined, with the captions of its images.
    """
    made = [n for n in names if raw_root(RECIPE, n) is None]
    splits = {BENCHMARKS[n].format: set() for n in sorted(made)}
    if SOURCE != "download":
        layouts = [RAW_DATA[name].layout for name in sorted(splits)]
        return [f"{WORLDS[layout]}/{layout}.json" for layout in layouts]
    for name in made:
        splits[BENCHMARKS[name].format] |= data.images_of(RECIPE, name, trains).keys()
        if name == RECIPE.datasets.train and mines and CAPTIONS and not OWN_CAPTIONS:
            splits[BENCHMARKS[name].format].add("captions")
    return [f"{RAW}/extracted/{archive}.json" for archive in archives_of(splits)]


def raw_data(wildcards):
    """What a conversion waits for: records, or raw data that a person has put there.

    The listing of the latter is in the benchmark's name; the time of the folder does not count.
    """
    name = benchmark_of(wildcards)
    own = raw_root(RECIPE, name)
    if own is not None:
        return ancient(str(own / RAW_DATA[BENCHMARKS[name].format].folder))
    return records_of([name], "train" in images_of_variant(wildcards))


def splits(wildcards):
    """The splits of a benchmark that the recipe converts, as `split=name in the raw data`."""
    names = of_benchmark(wildcards).split_names
    return [f"{s}={names.get(s, s)}" for s in images_of_variant(wildcards)]


def expected_images(wildcards):
    """How many images each split must list, as `split=number`; unchecked splits are left out."""
    counts = images_of_variant(wildcards)
    return [f"{split}={n}" for split, n in counts.items() if n is not None]


def told_captions(wildcards):
    """The option for the captions that the training images must fit."""
    is_trained_on = wildcards.benchmark == Path(TRAINING).name
    is_read = is_trained_on and "finetuned_clip" in TRAINED
    return ["--captions", CAPTIONS] if is_read and CAPTIONS else []


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

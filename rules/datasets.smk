"""Raw data, downloaded, generated or already there, becomes verified benchmarks."""

DATA = RECIPE.datasets.root
SOURCE = RECIPE.datasets.source
RAW = SOURCE.removeprefix("local:") if SOURCE.startswith("local:") else f"{DATA}/raw"
MANUAL = f"{DATA}/manual"
BENCHMARKS = RECIPE.datasets.benchmarks

# Which layout of the miniature world each raw format is read from.
WORLD_LAYOUTS = {
    "coco_stuff": "coco",
    "ade20k_150": "ade_challenge",
    "ade20k_847": "ade_full",
    "pascal_voc": "voc2012",
    "pascal_context": "voc2010",
}


# The module that knows each raw format.
FORMAT_MODULES = {
    "coco_stuff": "coco_stuff",
    "ade20k_150": "ade20k",
    "ade20k_847": "ade20k",
    "pascal_voc": "pascal",
    "pascal_context": "pascal",
}


def raw_records(wildcards):
    """What must have been extracted or generated before a benchmark can be converted."""
    format_name = BENCHMARKS[wildcards.benchmark].format
    if SOURCE == "download":
        return [
            f"{RAW}/extracted/{archive}.json"
            for archive in FORMAT_ARCHIVES[format_name]
        ]
    if SOURCE == "generate":
        return [f"{RAW}/generated/{WORLD_LAYOUTS[format_name]}.json"]
    return []


def all_raw_records(wildcards):
    """The records of every archive or layout that the recipe's benchmarks need."""
    formats = sorted({benchmark.format for benchmark in BENCHMARKS.values()})
    if SOURCE == "download":
        archives = dict.fromkeys(a for name in formats for a in FORMAT_ARCHIVES[name])
        return [f"{RAW}/extracted/{archive}.json" for archive in archives]
    if SOURCE == "generate":
        return [f"{RAW}/generated/{WORLD_LAYOUTS[name]}.json" for name in formats]
    return []


def converted_files():
    """What the conversions make, of all benchmarks."""
    files = []
    for name, benchmark in BENCHMARKS.items():
        kinds = ["index.json", "labels"]
        if benchmark.format == "ade20k_847":
            kinds.append("images")
        files += [f"{DATA}/benchmarks/{name}/{kind}" for kind in kinds]
    return files


def benchmarks_of(format_name):
    """Wildcard constraint: the benchmarks that are converted from one raw format."""
    names = [
        name
        for name, benchmark in BENCHMARKS.items()
        if benchmark.format == format_name
    ]
    return "|".join(names) or "(?!)"


def class_list_name(wildcards):
    """The class list of a benchmark: a built-in name, or a path."""
    return BENCHMARKS[wildcards.benchmark].classes


def class_list_contents(wildcards):
    """The class list itself, so that editing it converts its benchmark again."""
    classes = CLASS_LISTS[wildcards.benchmark]
    return dict(zip(classes.names, classes.raw_ids))


def converter(wildcards):
    """The script of a benchmark's conversion, which has the name of the rule."""
    return f"workflow_scripts.convert_{BENCHMARKS[wildcards.benchmark].format}"


def converter_code(wildcards):
    """Hash of the code that converts a benchmark: the engine and its own format's module."""
    own = FORMAT_MODULES[BENCHMARKS[wildcards.benchmark].format]
    return code("scan_core/datasets/conversion.py", f"scan_core/datasets/{own}.py")


def splits(wildcards):
    """The splits of a benchmark that the recipe converts."""
    return list(BENCHMARKS[wildcards.benchmark].images)


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


def archives_to_obtain_by_hand():
    """Archives that no server gives away, and that are not in place yet."""
    if SOURCE != "download":
        return []
    names = {Path(record).stem for record in all_raw_records(None)}
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


rule datasets:
    input:
        f"{RESULTS}/dataset_manifest.json",
        # Named although the manifest implies them: Snakemake does not miss a deleted file that
        # only stands between others.
        all_raw_records(None),
        converted_files(),
        expand(
            "{data}/benchmarks/{benchmark}/sheet.png", data=DATA, benchmark=BENCHMARKS
        ),


rule download_archive:
    output:
        archive=f"{DATA}/archives/{{archive}}",
        record=f"{DATA}/archives/{{archive}}.json",
    log:
        f"{LOGS}/download_archive/{{archive}}.log",
    benchmark:
        f"{TIMINGS}/download_archive/{{archive}}.tsv"
    wildcard_constraints:
        archive="|".join(map(re.escape, ARCHIVES)),
    # Compute nodes often have no way out: downloads run where Snakemake runs.
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=500,
        runtime=720,
    params:
        manual=MANUAL,
    message:
        "Downloading {wildcards.archive}"
    shell:
        "python -m workflow_scripts.download_archive --archive {wildcards.archive} --output {output.archive}"
        " --record {output.record} --manual-folder {params.manual} 2> {log}"


rule extract_archive:
    input:
        archive=f"{DATA}/archives/{{archive}}",
        record=f"{DATA}/archives/{{archive}}.json",
    output:
        f"{RAW}/extracted/{{archive}}.json",
    log:
        f"{LOGS}/extract_archive/{{archive}}.log",
    benchmark:
        f"{TIMINGS}/extract_archive/{{archive}}.tsv"
    wildcard_constraints:
        archive="|".join(map(re.escape, ARCHIVES)),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=240,
    params:
        raw=RAW,
    message:
        "Extracting {wildcards.archive}"
    shell:
        "python -m workflow_scripts.extract_archive --name {wildcards.archive} --archive {input.archive}"
        " --record {input.record} --raw-root {params.raw} --output {output} 2> {log}"


rule generate_miniworld:
    output:
        f"{RAW}/generated/{{layout}}.json",
    log:
        f"{LOGS}/generate_miniworld/{{layout}}.log",
    benchmark:
        f"{TIMINGS}/generate_miniworld/{{layout}}.tsv"
    wildcard_constraints:
        layout="|".join(WORLD_LAYOUTS.values()),
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        raw=RAW,
        seed=RECIPE.seed,
        image_size=RECIPE.datasets.miniworld and RECIPE.datasets.miniworld.image_size,
        images=world_images,
        code=code(
            "scan_core/datasets/miniworld/*.py",
            "scan_core/vocabulary/data/mini_*.json",
        ),
    message:
        "Drawing the miniature world in the layout {wildcards.layout}"
    shell:
        "python -m workflow_scripts.generate_miniworld --layout {wildcards.layout} --raw-root {params.raw}"
        " --seed {params.seed} --image-size {params.image_size} --images {params.images}"
        " --workers {threads} --output {output} 2> {log}"


rule convert_coco_stuff:
    input:
        raw_records,
    output:
        labels=directory(f"{DATA}/benchmarks/{{benchmark}}/labels"),
        index=f"{DATA}/benchmarks/{{benchmark}}/index.json",
    log:
        f"{LOGS}/convert/{{benchmark}}.log",
    benchmark:
        f"{TIMINGS}/convert/{{benchmark}}.tsv"
    wildcard_constraints:
        benchmark=benchmarks_of("coco_stuff"),
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        script=converter,
        raw=RAW,
        folder=subpath(output.index, parent=True),
        classes=class_list_name,
        class_list=class_list_contents,
        splits=splits,
        code=converter_code,
    message:
        "Converting {wildcards.benchmark}"
    shell:
        "python -m {params.script} --raw-root {params.raw} --class-list {params.classes}"
        " --name {wildcards.benchmark} --splits {params.splits} --workers {threads}"
        " --output {params.folder} 2> {log}"


use rule convert_coco_stuff as convert_ade20k_150 with:
    wildcard_constraints:
        benchmark=benchmarks_of("ade20k_150"),


use rule convert_coco_stuff as convert_ade20k_847 with:
    output:
        # The raw photos are large; the benchmark is defined on smaller ones.
        images=directory(f"{DATA}/benchmarks/{{benchmark}}/images"),
        labels=directory(f"{DATA}/benchmarks/{{benchmark}}/labels"),
        index=f"{DATA}/benchmarks/{{benchmark}}/index.json",
    wildcard_constraints:
        benchmark=benchmarks_of("ade20k_847"),


use rule convert_coco_stuff as convert_pascal_voc with:
    wildcard_constraints:
        benchmark=benchmarks_of("pascal_voc"),


use rule convert_coco_stuff as convert_pascal_context with:
    wildcard_constraints:
        benchmark=benchmarks_of("pascal_context"),


rule verify_dataset:
    input:
        index=f"{DATA}/benchmarks/{{benchmark}}/index.json",
        labels=f"{DATA}/benchmarks/{{benchmark}}/labels",
    output:
        verification=f"{DATA}/benchmarks/{{benchmark}}/verification.json",
        sheet=report(
            f"{DATA}/benchmarks/{{benchmark}}/sheet.png",
            caption="../docs/report/sheet.rst",
            category="Datasets",
            labels={"benchmark": "{benchmark}"},
        ),
    log:
        f"{LOGS}/verify_dataset/{{benchmark}}.log",
    benchmark:
        f"{TIMINGS}/verify_dataset/{{benchmark}}.tsv"
    wildcard_constraints:
        benchmark="|".join(BENCHMARKS),
    conda:
        ENVIRONMENT
    threads: 4
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        expected=expected_images,
        code=code("scan_core/datasets/verification.py", "scan_core/datasets/sheet.py"),
    message:
        "Verifying {wildcards.benchmark}"
    shell:
        "python -m workflow_scripts.verify_dataset --index {input.index}"
        " --expected-images {params.expected} --workers {threads}"
        " --report {output.verification} --sheet {output.sheet} 2> {log}"


rule dataset_manifest:
    input:
        records=all_raw_records,
        verifications=expand(
            "{data}/benchmarks/{benchmark}/verification.json",
            data=DATA,
            benchmark=BENCHMARKS,
        ),
    output:
        f"{RESULTS}/dataset_manifest.json",
    log:
        f"{LOGS}/dataset_manifest.log",
    benchmark:
        f"{TIMINGS}/dataset_manifest.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        mem_mb=500,
        runtime=10,
    params:
        source=SOURCE,
        code=code("scan_core/datasets/manifest.py"),
    message:
        "Recording what the benchmarks were made from"
    shell:
        "python -m workflow_scripts.dataset_manifest --source {params.source} --records {input.records}"
        " --verifications {input.verifications} --output {output} 2> {log}"

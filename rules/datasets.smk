"""Raw data, downloaded, generated or already there, becomes verified benchmarks."""


include: "datasets_common.smk"


rule datasets:
    input:
        f"{RESULTS}/dataset_manifest.json",
        # Named although the manifest implies them: Snakemake does not miss a deleted file that
        # only stands between others.
        records_of(USED),
        files_of(USED, "index.json", "labels", "verification.json", "sheet.png"),
        files_of([name for name in USED if name in WITH_IMAGES], "images"),
    message:
        f"The benchmarks of the recipe {RECIPE_NAME} are made"


rule download_archive:
    output:
        archive=f"{DATA}/archives/{{archive}}",
        record=f"{DATA}/archives/{{archive}}.json",
    log:
        f"{LOGS}/download_archive/{{archive}}.log",
    benchmark:
        f"{TIMINGS}/download_archive/{{archive}}.tsv"
    # Compute nodes often have no way out: downloads run where Snakemake runs.
    localrule: True
    params:
        manual=MANUAL,
    message:
        "Downloading {wildcards.archive}"
    shell:
        "python -m workflow_scripts.download_archive --archive {wildcards.archive:q} --output {output.archive:q}"
        " --record {output.record:q} --manual-folder {params.manual:q} 2> {log:q}"


rule extract_archive:
    input:
        # Its record has its digest.
        archive=ancient(f"{DATA}/archives/{{archive}}"),
        record=f"{DATA}/archives/{{archive}}.json",
    output:
        f"{RAW}/extracted/{{archive}}.json",
    log:
        f"{LOGS}/extract_archive/{{archive}}.log",
    benchmark:
        f"{TIMINGS}/extract_archive/{{archive}}.tsv"
    resources:
        runtime=240,
    params:
        raw=subpath(output[0], ancestor=2),
    message:
        "Extracting {wildcards.archive}"
    shell:
        "python -m workflow_scripts.extract_archive --name {wildcards.archive:q} --archive {input.archive:q}"
        " --record {input.record:q} --raw-root {params.raw:q} --output {output:q} 2> {log:q}"


rule generate_miniworld:
    output:
        f"{RAW}/{{world}}/{{layout}}.json",
    log:
        f"{LOGS}/generate_miniworld/{{world}}.{{layout}}.log",
    benchmark:
        f"{TIMINGS}/generate_miniworld/{{world}}.{{layout}}.tsv"
    threads: lambda wildcards: 2 if wildcards.layout == "coco" else 1
    params:
        raw=subpath(output[0], parent=True),
        seed=RECIPE.seed,
        image_size=RECIPE.datasets.miniworld and RECIPE.datasets.miniworld.image_size,
        images=lambda w: [f"{s}={n}" for s, n in data.world_images(RECIPE, w.layout).items()],
    message:
        "Drawing the miniature world in the layout {wildcards.layout}"
    shell:
        "python -m workflow_scripts.generate_miniworld --layout {wildcards.layout:q} --raw-root {params.raw:q}"
        " --seed {params.seed:q} --image-size {params.image_size:q} --images {params.images:q}"
        f" --workers {{threads}} --output {{output:q}}{end_of('generate_miniworld')}"


rule convert_benchmark:
    input:
        raw_data,
    output:
        labels=directory(f"{BENCHMARK}/labels"),
        index=f"{BENCHMARK}/index.json",
    log:
        f"{LOGS}/convert_benchmark/{{benchmark}}.log",
    benchmark:
        f"{TIMINGS}/convert_benchmark/{{benchmark}}.tsv"
    wildcard_constraints:
        benchmark=one_of(b for b in CONVERTED if name_of(b) not in WITH_IMAGES),
    threads: reading_threads
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        raw=lambda wildcards: data.raw_folder(RECIPE, benchmark_of(wildcards)),
        format=lambda wildcards: of_benchmark(wildcards).format,
        name=benchmark_of,
        folder=subpath(output.index, parent=True),
        classes=classes_of,
        splits=splits,
        options=lambda wildcards: data.conversion_options(RECIPE, benchmark_of(wildcards)),
        captions=told_captions,
    message:
        "Converting {wildcards.benchmark}"
    shell:
        "python -m workflow_scripts.convert_benchmark --format {params.format:q}"
        " --raw-root {params.raw:q} --classes {params.classes:q}"
        " --name {params.name:q} --splits {params.splits:q} --workers {threads}"
        f" {{params.options:q}} {{params.captions:q}} --output {{params.folder:q}}{end_of('convert_benchmark')}"


use rule convert_benchmark as convert_benchmark_with_images with:
    output:
        # The raw photos are large; the benchmark is defined on smaller ones.
        images=directory(f"{BENCHMARK}/images"),
        labels=directory(f"{BENCHMARK}/labels"),
        index=f"{BENCHMARK}/index.json",
    wildcard_constraints:
        benchmark=one_of(b for b in CONVERTED if name_of(b) in WITH_IMAGES),


rule verify_dataset:
    input:
        index=f"{BENCHMARK}/index.json",
        labels=ancient(f"{BENCHMARK}/labels"),
    output:
        verification=f"{BENCHMARK}/verification.json",
        sheet=shown(f"{BENCHMARK}/sheet.png", "Datasets", benchmark="{benchmark}"),
    log:
        f"{LOGS}/verify_dataset/{{benchmark}}.log",
    benchmark:
        f"{TIMINGS}/verify_dataset/{{benchmark}}.tsv"
    threads: reading_threads
    params:
        expected=expected_images,
    message:
        "Verifying {wildcards.benchmark}"
    shell:
        "python -m workflow_scripts.verify_dataset --index {input.index:q}"
        " --expected-images {params.expected:q} --workers {threads}"
        f" --report {{output.verification:q}} --sheet {{output.sheet:q}}{end_of('verify_dataset')}"


rule dataset_manifest:
    input:
        records=records_of(USED),
        verifications=files_of(USED, "verification.json"),
        benchmarks=MANIFEST_FILE,
    output:
        f"{RESULTS}/dataset_manifest.json",
    log:
        f"{LOGS}/dataset_manifest.log",
    benchmark:
        f"{TIMINGS}/dataset_manifest.tsv"
    localrule: True
    params:
        source=SOURCE,
    message:
        "Recording what the benchmarks were made from"
    shell:
        "python -m workflow_scripts.dataset_manifest --source {params.source:q} --records {input.records:q}"
        f" --verifications {{input.verifications:q}} --output {{output:q}}{end_of('dataset_manifest')}"

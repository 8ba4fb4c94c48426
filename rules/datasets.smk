"""Raw data, downloaded, generated or already there, becomes verified benchmarks."""


include: "datasets_common.smk"


rule datasets:
    input:
        f"{RESULTS}/dataset_manifest.json",
        # Named although the manifest implies them: Snakemake does not miss a deleted file that
        # only stands between others.
        ALL_RAW_RECORDS,
        converted_files(),
        expand(
            "{data}/benchmarks/{benchmark}/{file}",
            data=DATA,
            benchmark=USED,
            file=["verification.json", "sheet.png"],
        ),
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
    wildcard_constraints:
        archive="|".join(map(re.escape, ARCHIVES)),
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=240,
    params:
        raw=subpath(output[0], ancestor=2),
    message:
        "Extracting {wildcards.archive}"
    shell:
        "python -m workflow_scripts.extract_archive --name {wildcards.archive:q} --archive {input.archive:q}"
        " --record {input.record:q} --raw-root {params.raw:q} --output {output:q} 2> {log:q}"


rule generate_miniworld:
    input:
        made_of=world_made_of,
    output:
        made=f"{RAW}/generated/{{layout}}.json",
        made_of=f"{RAW}/generated/{{layout}}.made_of.json",
    log:
        f"{LOGS}/generate_miniworld/{{layout}}.log",
    benchmark:
        f"{TIMINGS}/generate_miniworld/{{layout}}.tsv"
    wildcard_constraints:
        layout="|".join(f.layout for f in FORMATS.values() if f.layout),
    conda:
        ENVIRONMENT
    threads: drawing_threads
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        raw=subpath(output.made, ancestor=2),
        seed=RECIPE.seed,
        image_size=RECIPE.datasets.miniworld and RECIPE.datasets.miniworld.image_size,
        images=world_images,
    message:
        "Drawing the miniature world in the layout {wildcards.layout}"
    shell:
        "python -m workflow_scripts.generate_miniworld --layout {wildcards.layout:q} --raw-root {params.raw:q}"
        " --seed {params.seed:q} --image-size {params.image_size:q} --images {params.images:q}"
        " --workers {threads} --output {output.made:q} 2> {log:q}"
        " && cp {input.made_of:q} {output.made_of:q}"


rule convert_benchmark:
    input:
        raw=raw_data,
        made_of=conversion_made_of,
    output:
        labels=directory(f"{DATA}/benchmarks/{{benchmark}}/labels"),
        index=f"{DATA}/benchmarks/{{benchmark}}/index.json",
        made_of=f"{DATA}/benchmarks/{{benchmark}}/made_of.json",
    log:
        f"{LOGS}/convert_benchmark/{{benchmark}}.log",
    benchmark:
        f"{TIMINGS}/convert_benchmark/{{benchmark}}.tsv"
    wildcard_constraints:
        benchmark=one_of(set(BENCHMARKS) - set(WITH_IMAGES)),
    conda:
        ENVIRONMENT
    threads: reading_threads
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        raw=raw_folder,
        format=raw_format,
        folder=subpath(output.index, parent=True),
        classes=class_list_name,
        splits=splits,
        options=conversion_options,
    message:
        "Converting {wildcards.benchmark}"
    shell:
        "python -m workflow_scripts.convert_benchmark --format {params.format:q}"
        " --raw-root {params.raw:q} --classes {params.classes:q}"
        " --name {wildcards.benchmark:q} --splits {params.splits:q} --workers {threads}"
        " {params.options:q} --output {params.folder:q} 2> {log:q}"
        " && cp {input.made_of:q} {output.made_of:q}"


use rule convert_benchmark as convert_benchmark_with_images with:
    output:
        # The raw photos are large; the benchmark is defined on smaller ones.
        images=directory(f"{DATA}/benchmarks/{{benchmark}}/images"),
        labels=directory(f"{DATA}/benchmarks/{{benchmark}}/labels"),
        index=f"{DATA}/benchmarks/{{benchmark}}/index.json",
        made_of=f"{DATA}/benchmarks/{{benchmark}}/made_of.json",
    wildcard_constraints:
        benchmark=one_of(WITH_IMAGES),


rule verify_dataset:
    input:
        index=f"{DATA}/benchmarks/{{benchmark}}/index.json",
        labels=ancient(f"{DATA}/benchmarks/{{benchmark}}/labels"),
        made_of=verification_made_of,
    output:
        verification=f"{DATA}/benchmarks/{{benchmark}}/verification.json",
        sheet=report(
            f"{DATA}/benchmarks/{{benchmark}}/sheet.png",
            caption="../docs/report/sheet.rst",
            category="Datasets",
            labels={"benchmark": "{benchmark}"},
        ),
        made_of=f"{DATA}/benchmarks/{{benchmark}}/verification.made_of.json",
    log:
        f"{LOGS}/verify_dataset/{{benchmark}}.log",
    benchmark:
        f"{TIMINGS}/verify_dataset/{{benchmark}}.tsv"
    wildcard_constraints:
        benchmark="|".join(BENCHMARKS),
    conda:
        ENVIRONMENT
    threads: reading_threads
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        expected=expected_images,
    message:
        "Verifying {wildcards.benchmark}"
    shell:
        "python -m workflow_scripts.verify_dataset --index {input.index:q}"
        " --expected-images {params.expected:q} --workers {threads}"
        " --report {output.verification:q} --sheet {output.sheet:q} 2> {log:q}"
        " && cp {input.made_of:q} {output.made_of:q}"


rule dataset_manifest:
    input:
        records=ALL_RAW_RECORDS,
        verifications=expand(
            "{data}/benchmarks/{benchmark}/verification.json",
            data=DATA,
            benchmark=USED,
        ),
        made_of=manifest_made_of,
    output:
        manifest=f"{RESULTS}/dataset_manifest.json",
        made_of=f"{RESULTS}/dataset_manifest.made_of.json",
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
        code=code("dataset_manifest"),
    message:
        "Recording what the benchmarks were made from"
    shell:
        "python -m workflow_scripts.dataset_manifest --source {params.source:q} --records {input.records:q}"
        " --verifications {input.verifications:q} --output {output.manifest:q} 2> {log:q}"
        " && cp {input.made_of:q} {output.made_of:q}"

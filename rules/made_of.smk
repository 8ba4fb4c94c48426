"""Results of something else than the recipe are made again, whatever Snakemake remembers of them.

Beside each result stands `made_of.json`, with the code, keys of the recipe, and contents of files that
are not made here. Snakemake compares the same with what it remembers; after its memory was deleted, or
results were copied here, the file beside the result is what tells.
"""

from types import SimpleNamespace

from scan_core.command.clearing import wait_for_others
from scan_core.provenance.made_of import compare, is_made


def one(made, records, **wildcards):
    return made(SimpleNamespace(**wildcards)), [Path(record) for record in records]


def of_benchmark(benchmark):
    folder = f"{DATA}/benchmarks/{benchmark}"
    converted, verified = (
        f"{folder}/made_of.json",
        f"{folder}/verification.made_of.json",
    )
    yield one(conversion_made_of, [converted], benchmark=benchmark)
    yield one(verification_made_of, [verified], benchmark=benchmark)


def data_is_made():
    return all(
        is_made(records, Path(description))
        for benchmark in USED
        for description, records in of_benchmark(benchmark)
    )


def descriptions():
    """What each result of this recipe would be made of now, and the records beside its files."""
    layouts = (
        [f.layout for f in FORMATS.values() if f.layout] if SOURCE == "generate" else ()
    )
    for layout in layouts:
        record = f"{RAW}/generated/{layout}.made_of.json"
        yield one(world_made_of, [record], layout=layout)
    for benchmark in BENCHMARKS:
        yield from of_benchmark(benchmark)
    yield one(manifest_made_of, [f"{RESULTS}/dataset_manifest.made_of.json"])
    for folder, stage, variants, made in (
        ("clip", "clip", CLIPS, clip_made_of),
        ("segmenter", "segmenter", SEGMENTERS, segmenter_made_of),
        ("finetuned_clip", "finetuned", FINETUNED, finetuned_made_of),
        ("model", "model", MODELS, model_made_of),
    ):
        for variant in variants:
            record = f"{RESULTS}/{folder}/{variant}/made_of.json"
            yield one(made, [record], **{stage: variant})
    for pairs in PAIRS:
        shards = range(mining_shards(SimpleNamespace(pairs=pairs)))
        records = [f"{RESULTS}/pairs/{pairs}/shards/{n}.made_of.json" for n in shards]
        yield one(pairs_shard_made_of, records, pairs=pairs)
    for model in MODELS:
        for benchmark in EVALUATED:
            folder = f"{RESULTS}/eval/{model}/{benchmark}"
            of = {"model": model, "benchmark": benchmark}
            shards = range(shard_count(SimpleNamespace(**of)))
            records = [f"{folder}/shards/{n}.made_of.json" for n in shards]
            yield one(shard_made_of, records, **of)
            yield one(evaluation_made_of, [f"{folder}/made_of.json"], **of)
    for method, of_method in GIVEN.items():
        for benchmark in of_method:
            record = f"{RESULTS}/predictions/{method}/{benchmark}/made_of.json"
            yield one(predictions_made_of, [record], method=method, benchmark=benchmark)
    for grid in GRIDS_FOR_RECIPE:
        for seeds in ("", "every_seed/"):
            record = f"{RESULTS}/ablations/{seeds}{grid}.made_of.json"
            yield one(grid_made_of, [record], grid=grid, seeds=seeds)
    for search in SEARCHES:
        if can_be_made(search):
            record = f"{RESULTS}/search/{search}/made_of.json"
            yield one(search_made_of, [record], search=search)


# Before Snakemake looks for files: it lists a folder once.
if workflow.is_main_process:
    wait_for_others(Path(DATA), sys.argv[1:], data_is_made)
    for description, records in descriptions():
        compare(records, Path(description))

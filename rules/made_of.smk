"""Results of something else than the recipe are made again, whatever Snakemake remembers of them.

Beside each result stands `made_of.json`, with the code, keys of the recipe, and contents of files that
are not made here. Snakemake compares the same with what it remembers; after its memory was deleted, or
results were copied here, the file beside the result is what tells.
"""

from types import SimpleNamespace

from scan_core.provenance.made_of import compare


def records():
    """Each record that a rule of this recipe may leave, and the function of what it should say."""
    layouts = WORLD_LAYOUTS.values() if SOURCE == "generate" else ()
    for layout in layouts:
        record = f"{RAW}/generated/{layout}.made_of.json"
        yield record, world_made_of, {"layout": layout}
    for benchmark in BENCHMARKS:
        folder, which = f"{DATA}/benchmarks/{benchmark}", {"benchmark": benchmark}
        yield f"{folder}/made_of.json", conversion_made_of, which
        yield f"{folder}/verification.made_of.json", verification_made_of, which
    for folder, stage, variants, made in (
        ("clip", "clip", CLIPS, clip_made_of),
        ("segmenter", "segmenter", SEGMENTERS, segmenter_made_of),
        ("finetuned_clip", "finetuned", FINETUNED, finetuned_made_of),
        ("model", "model", MODELS, model_made_of),
    ):
        for variant in variants:
            yield f"{RESULTS}/{folder}/{variant}/made_of.json", made, {stage: variant}
    for pairs in PAIRS:
        for shard in range(mining_shards(SimpleNamespace(pairs=pairs))):
            record = f"{RESULTS}/pairs/{pairs}/shards/{shard}.made_of.json"
            yield record, pairs_shard_made_of, {"pairs": pairs, "shard": str(shard)}
    for model in MODELS:
        for benchmark in EVALUATED:
            folder = f"{RESULTS}/eval/{model}/{benchmark}"
            which = {"model": model, "benchmark": benchmark}
            if not Path(folder).is_dir():
                continue
            yield f"{folder}/made_of.json", evaluation_made_of, which
            for shard in range(shard_count(SimpleNamespace(**which))):
                record = f"{folder}/shards/{shard}.made_of.json"
                yield record, shard_made_of, {**which, "shard": str(shard)}
    for grid in GRIDS_FOR_RECIPE:
        for seeds in ("", "every_seed/"):
            record = f"{RESULTS}/ablations/{seeds}{grid}.made_of.json"
            yield record, grid_made_of, {"grid": grid, "seeds": seeds}


if workflow.is_main_process:
    for record, made, wildcards in records():
        if Path(record).exists():
            compare(Path(record), Path(made(SimpleNamespace(**wildcards))))

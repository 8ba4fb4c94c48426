"""Mine mask–noun pairs of some images: which proposal shows which noun of an image's captions."""

from pathlib import Path

from scan_core.params.command_line import run
from scan_core.params.recipe_part import read_part


def mine_shard(
    recipe_part: Path,
    clip: Path,
    segmenter: Path,
    index: Path,
    captions: str,
    output: Path,
    shard: int = 0,
    shards: int = 1,
    workers: int = 1,
) -> None:
    """Mine mask–noun pairs of some images: which proposal shows which noun of an image's captions.

    Args:
        recipe_part: JSON file of the stage of the pairs.
        clip: weights from clip_weights.
        segmenter: weights from train_segmenter.
        index: of the training benchmark.
        captions: a file in COCO's layout, or `classes`: the names of an image's classes.
        output: file to write, one pair per line.
        shard: number of this shard, from 0.
        shards: number of shards.
        workers: threads that read images.
    """
    from scan_core.datasets.captions import training_captions
    from scan_core.datasets.loading import BenchmarkImages
    from scan_core.inference.assembly import assemble
    from scan_core.inference.devices import chosen_device
    from scan_core.training import mining

    part = read_part(recipe_part)
    assert part.clip_finetune is not None  # it is a part of this stage's recipe
    settings = part.clip_finetune.pairs
    images = BenchmarkImages(index, "train")
    said = training_captions(captions, images)
    captioned = mining.Captioned(images, said, settings.captions_per_image, settings.images)
    numbers = captioned.numbers(shard, shards)
    scan = assemble(part, clip, segmenter, device=chosen_device("auto"))
    mining.mine_shard(scan, captioned, numbers, settings.proposals, workers, output)


if __name__ == "__main__":
    run(mine_shard)

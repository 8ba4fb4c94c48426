"""Merge mined shards of mask–noun pairs, and count the pairs."""

import logging
from pathlib import Path

from scan_core.params.command_line import run
from scan_core.storage.files import write_json


def mine_mask_text_pairs(
    shards: list[Path], output: Path, statistics: Path, code: str = ""
) -> None:
    """Merge mined shards of mask–noun pairs, and count the pairs.

    Args:
        shards: files from mine_shard, in order.
        output: file to write, one pair per line.
        statistics: JSON file to write.
        code: hash of the code of mine_shard, for the record.
    """
    from scan_core.training.mining import merge_pairs

    counts = merge_pairs(shards, output)
    write_json(statistics, {**counts, "code": {"mine_shard": code}})
    text = "%d pairs of %d nouns in %d images; OVSeg's on COCO, one caption: 442,117 of 12,000"
    logging.info(text, counts["pairs"], counts["nouns"], counts["images"])


if __name__ == "__main__":
    run(mine_mask_text_pairs)

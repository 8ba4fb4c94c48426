"""Published results of open-vocabulary segmentation on the six benchmarks of the paper."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from scan_core.errors import InputError

DATA_FILE = Path(__file__).parent / "published_numbers.csv"

# Benchmark, by the name of its class list -> its column in the file.
PAPER_BENCHMARKS = {
    "ade20k_847": "A847",
    "context_459": "PC459",
    "ade20k_150": "A150",
    "context_59": "PC59",
    "voc_20": "PAS20",
    "voc_20b": "PAS20b",
}
# How a row was read -> its mark in the table; rows that the authors or the quoting paper give
# themselves have none.
DOUBTFUL = "doubtful"
MARKS = {"second-hand": "†", DOUBTFUL: "‡"}
READINGS = ("authors", "quoted", *MARKS)
# CLIP architecture -> the row of the paper's model with it.
PAPER_ROWS = {"ViT-B-16": "SCAN B", "ViT-L-14": "SCAN L"}


@dataclass(frozen=True)
class PublishedResult:
    """One method's published numbers.

    Attributes:
        method: name, with its size where there are several.
        venue: where it was published.
        vl_model: the vision-language model it builds on.
        backbone: of the segmenter, or where its proposals come from.
        train_data: what the segmenter was trained on.
        miou: benchmark -> mIoU in %; NaN where none was published.
        context_459_rule: the mean that was taken on PC-459, where a third of the classes has no
            ground truth: `old` is `miou_d2_v06`, `new` is `miou`; with how we know.
        cost_note: what is known of its cost.
        source: where the numbers stand.
        reading: how they were read there: given by the `authors` (paper, repository), `quoted` in a
            table of another paper, `second-hand` (the source itself was not seen), or `doubtful`
            (the source does not confirm them).
    """

    method: str
    venue: str
    vl_model: str
    backbone: str
    train_data: str
    miou: dict[str, float]
    context_459_rule: str
    cost_note: str
    source: str
    reading: str


def load_published(path: Path = DATA_FILE) -> list[PublishedResult]:
    """Read the published numbers, in the order of the file.

    Args:
        path: CSV; by default the one that comes with the package.

    Raises:
        InputError: unreadable, a column is missing, or a number is none.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f"published numbers {path} cannot be read: {error.strerror}") from None
    try:
        return [_result(row) for row in rows]
    except (KeyError, ValueError) as error:
        raise InputError(
            f"published numbers {path} are damaged ({error}); expected the columns method, venue, "
            f"vl_model, backbone_or_proposal, train_data, {', '.join(PAPER_BENCHMARKS.values())}, "
            "PC459_rule, cost_note, source and reading, with mIoU in % or nothing and one of "
            f"{', '.join(READINGS)} as reading"
        ) from None


def paper_result(architecture: str, results: list[PublishedResult]) -> PublishedResult | None:
    """The paper's own row for a CLIP architecture.

    Args:
        architecture: such as `ViT-L-14`.
        results: see `load_published`.

    Returns:
        the row, or None if the paper has no model with this architecture.
    """
    method = PAPER_ROWS.get(architecture)
    return next((result for result in results if result.method == method), None)


def _result(row: dict[str, str]) -> PublishedResult:
    if row["reading"] not in READINGS:
        raise ValueError(f"reading '{row['reading']}' of {row['method']}")
    return PublishedResult(
        method=row["method"],
        venue=row["venue"],
        vl_model=row["vl_model"],
        backbone=row["backbone_or_proposal"],
        train_data=row["train_data"],
        miou={
            benchmark: float(row[column]) if row[column] else math.nan
            for benchmark, column in PAPER_BENCHMARKS.items()
        },
        context_459_rule=row["PC459_rule"],
        cost_note=row["cost_note"],
        source=row["source"],
        reading=row["reading"],
    )

"""Pairs of a mask and the noun that it shows: a file of them, its parts, and counts.

The file has one JSON object a line. It is mined in parts by image (`training.mining`), and is the
same however many there were.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from scan_core.errors import InputError
from scan_core.storage.atomic import atomic_path


@dataclass(frozen=True)
class MaskTextPair:
    """One pair.

    Attributes:
        image: number of the image in its split.
        stem: its name.
        noun: what the mask shows, as CLIP thinks.
        score: cosine similarity of crop and noun.
        query: which proposal.
        size: height and width of the mask, those of the resized image.
        counts: the mask, as COCO's compressed run lengths.
    """

    image: int
    stem: str
    noun: str
    score: float
    query: int
    size: tuple[int, int]
    counts: str

    def mask(self) -> NDArray[np.bool_]:
        """(H, W) bool."""
        record = {"size": list(self.size), "counts": self.counts.encode("ascii")}
        return np.asarray(coco_mask.decode(record), dtype=bool)


def mask_text_pair(
    image: int, stem: str, noun: str, score: float, query: int, mask: NDArray[np.bool_]
) -> MaskTextPair:
    """A pair, its mask (H, W) bool as run lengths; for the rest see `MaskTextPair`."""
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    size = (int(encoded["size"][0]), int(encoded["size"][1]))
    return MaskTextPair(
        image, stem, noun, round(score, 6), query, size, encoded["counts"].decode("ascii")
    )


def as_line(pair: MaskTextPair) -> str:
    """A pair as it stands in a file."""
    return json.dumps(asdict(pair)) + "\n"


def merge_pairs(parts: Sequence[Path], path: Path) -> None:
    """Write the pairs of all parts, one part after the other, atomically.

    Raises:
        InputError: there is none in any of them.
    """
    if not any(part.stat().st_size for part in parts):
        raise InputError(
            "there is no pair in any image: no caption has a noun, or no proposal has a pixel "
            "above the threshold; train the segmenter longer, or lower the threshold "
            "(clip_finetune.crop_threshold)"
        )
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for part in parts:
            with part.open("rb") as opened:
                shutil.copyfileobj(opened, file)


def load_pairs(path: Path) -> list[MaskTextPair]:
    """Read pairs.

    Raises:
        InputError: unreadable or damaged.
    """
    pairs = []
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                record["size"] = tuple(record["size"])
                pairs.append(MaskTextPair(**record))
    except OSError as error:
        raise InputError(f"pairs {path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"pairs {path} are damaged ({error}); delete the file to mine again"
        ) from None
    return pairs


def statistics(pairs: Iterable[MaskTextPair]) -> dict[str, Any]:
    """Counts to set beside the reference's, and the commonest nouns."""
    listed = list(pairs)
    nouns = Counter(pair.noun for pair in listed)
    return {
        "pairs": len(listed),
        "images": len({pair.image for pair in listed}),
        "nouns": len(nouns),
        "mean_score": sum(pair.score for pair in listed) / max(1, len(listed)),
        "commonest": nouns.most_common(20),
        # OVSeg's counts on COCO, for one and five captions an image.
        "reference": {
            "1": {"pairs": 442_117, "nouns": 12_000},
            "5": {"pairs": 1_300_000, "nouns": 27_000},
        },
    }

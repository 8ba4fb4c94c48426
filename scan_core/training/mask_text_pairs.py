"""Mining of mask–noun pairs: which proposal of an image shows which noun of its captions.

As OVSeg does it: a trained segmenter proposes masks, a tagger finds the nouns of the captions,
the frozen CLIP scores every masked crop against every noun, and each noun gets its best proposal.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from tqdm import tqdm

from scan_core.datasets.loading import BenchmarkImages
from scan_core.errors import InputError
from scan_core.inference.scan import Scan
from scan_core.models.clip import chunk_size, encode_images
from scan_core.models.cpu_linear import ConvolutionalLinear
from scan_core.models.crops import masked_crops
from scan_core.models.scan import class_logits
from scan_core.storage.atomic import atomic_path
from scan_core.training.nouns import caption_nouns

_log = logging.getLogger(__name__)


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


@torch.inference_mode()
def mine_pairs(
    scan: Scan,
    images: BenchmarkImages,
    captions: Mapping[str, list[str]],
    captions_per_image: int,
    proposals: int,
    largest_number: int | None,
) -> Iterator[MaskTextPair]:
    """Mine.

    Args:
        scan: with a trained segmenter and the CLIP before fine-tuning.
        images: training images.
        captions: stem of an image -> its captions.
        captions_per_image: of which the nouns are used, the first ones.
        proposals: of each image, those that are most certain to be something.
        largest_number: of images with captions, the first ones; None: all.

    Raises:
        InputError: no image has a caption, or there is no pair in any of them.
    """
    told = [number for number in range(len(images)) if images.stem(number) in captions]
    told = told[:largest_number]
    if not told:
        raise InputError("no training image has a caption; are captions and images of one dataset?")
    threshold = scan.settings.crop_threshold
    visual = scan.network.original_clip
    mined = False
    no_object = scan.network.with_no_object(scan.text_encoder(images.index.names))
    with ConvolutionalLinear(scan.network):
        for number in tqdm(told, desc="images", mininterval=10):
            first = captions[images.stem(number)][:captions_per_image]
            nouns = list(dict.fromkeys(noun for text in first for noun in caption_nouns(text)))
            if not nouns:
                continue
            resized = scan.resize(images.image(number))
            (evidence,) = scan.observer.observe([resized], [])
            void = class_logits(evidence.embeddings, no_object, scan.logit_scale()).softmax(-1)[
                :, -1
            ]
            best = void.argsort(stable=True)[:proposals].sort().values
            masks = evidence.masks()[best] > threshold
            crops = masked_crops(
                resized.to(masks.device), masks, visual.image_size[0], scan.settings.crop_expansion
            )
            if not len(crops.queries):
                continue
            step = chunk_size(visual, masks.device)
            features = torch.cat([encode_images(visual, part) for part in crops.images.split(step)])
            scores = class_logits(features, scan.text_encoder(nouns), 1.0)
            for noun, (score, row) in zip(nouns, zip(*scores.max(dim=0), strict=True), strict=True):
                chosen = crops.queries[row]
                mined = True
                yield _pair(
                    number,
                    images.stem(number),
                    noun,
                    float(score),
                    int(best[chosen]),
                    masks[chosen].cpu().numpy(),
                )
    if not mined:
        raise InputError(
            f"no pair in {len(told)} images: no caption has a noun, or no proposal has a pixel "
            f"above {threshold:g}; train the segmenter longer, or lower the threshold "
            "(clip_finetune.crop_threshold)"
        )


def _pair(
    image: int, stem: str, noun: str, score: float, query: int, mask: NDArray[np.bool_]
) -> MaskTextPair:
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    size = (int(encoded["size"][0]), int(encoded["size"][1]))
    return MaskTextPair(
        image, stem, noun, round(score, 6), query, size, encoded["counts"].decode("ascii")
    )


def save_pairs(path: Path, pairs: Iterable[MaskTextPair]) -> int:
    """Write pairs, one JSON object a line, atomically; their number."""
    count = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for pair in pairs:
            file.write(json.dumps(asdict(pair)) + "\n")
            count += 1
    return count


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

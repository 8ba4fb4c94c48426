"""Mining of mask–noun pairs: which proposal of an image shows which noun of its captions.

As OVSeg does it: a trained segmenter proposes masks, a tagger finds the nouns of the captions,
the frozen CLIP scores every masked crop against every noun, and each noun gets its best proposal.

Pairs are a file with one JSON object per line. It is mined in shards of images, and is the same
for any number of shards. It is read pair by pair: all of COCO's masks would take gigabytes.
"""

import json
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor
from tqdm import tqdm

from scan_core.datasets.loading import BenchmarkImages
from scan_core.datasets.reading_ahead import read_ahead
from scan_core.errors import InputError
from scan_core.inference.devices import tensor_float, tower_in
from scan_core.inference.scan import Scan
from scan_core.models.clip import chunk_size, encode_images
from scan_core.models.cpu_linear import convolutional_linear
from scan_core.models.crops import masked_crops
from scan_core.models.scan import class_logits
from scan_core.storage.files import atomic_path

_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*|[.,;:!?]")
# Tags of the British National Corpus: common and proper nouns.
_NOUN_TAGS = ("NN", "NP")
# Nouns that refer to the picture itself.
_NOT_IN_THE_PICTURE = {"picture", "photo", "photograph", "image", "background", "front", "view"}


@dataclass(frozen=True)
class MaskTextPair:
    """A mask and the noun that it shows.

    Attributes:
        image: number of the image in its split.
        stem: name of the image.
        noun: what the mask shows, according to CLIP.
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


class MaskTextPairs:
    """The pairs of a file; masks stay on disk until a pair is asked for.

    Args:
        path: written by `merge_pairs`.

    Attributes:
        images: (N,) int32, the image of each pair.
        nouns: all nouns, sorted.
        noun_of: (N,) int32, the row of each pair's noun in `nouns`.

    Raises:
        InputError: unreadable or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        offsets, images, nouns = array("q"), array("i"), array("i")
        position, rows = 0, dict[str, int]()
        for line, pair in _read_pairs(path):
            offsets.append(position)
            position += len(line)
            images.append(pair.image)
            nouns.append(rows.setdefault(pair.noun, len(rows)))
        self._offsets = np.asarray(offsets)
        self.images = np.asarray(images)
        self.nouns = sorted(rows)
        new_row = np.empty(len(rows), np.int32)
        new_row[[rows[noun] for noun in self.nouns]] = np.arange(len(rows))
        self.noun_of = new_row[np.asarray(nouns)]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> MaskTextPair:
        with self.path.open("rb") as file:
            file.seek(self._offsets[number])
            return _pair(file.readline())


def mask_text_pair(
    image: int, stem: str, noun: str, score: float, query: int, mask: NDArray[np.bool_]
) -> MaskTextPair:
    """A pair, its mask (H, W) bool as run lengths; for the rest see `MaskTextPair`."""
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    size = (int(encoded["size"][0]), int(encoded["size"][1]))
    counts = encoded["counts"].decode("ascii")
    return MaskTextPair(image, stem, noun, round(score, 6), query, size, counts)


def as_line(pair: MaskTextPair) -> str:
    """A pair as it stands in a file."""
    return json.dumps(asdict(pair)) + "\n"


def merge_pairs(shards: Sequence[Path], path: Path) -> dict[str, Any]:
    """Write the pairs of all shards, one after the other, and count them.

    Returns:
        counts to compare with the reference's, and the most common nouns.

    Raises:
        InputError: a shard is unreadable or damaged, or there is no pair in any of them.
    """
    number, scores = 0, 0.0
    images, nouns = set[int](), Counter[str]()
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for shard in shards:
            for line, pair in _read_pairs(shard):
                file.write(line)
                number, scores = number + 1, scores + pair.score
                images.add(pair.image)
                nouns[pair.noun] += 1
        if not number:
            raise InputError(
                "there is no pair in any image: no caption has a noun, or no proposal has a pixel "
                "above the threshold; train the segmenter longer, or lower the threshold "
                "(clip_finetune.crop_threshold)"
            )
    return {
        "pairs": number,
        "images": len(images),
        "nouns": len(nouns),
        "mean_score": scores / number,
        "commonest": nouns.most_common(20),
        # OVSeg's counts on COCO, for one and five captions per image.
        "reference": {
            "1": {"pairs": 442_117, "nouns": 12_000},
            "5": {"pairs": 1_300_000, "nouns": 27_000},
        },
    }


def _read_pairs(path: Path) -> Iterator[tuple[bytes, MaskTextPair]]:
    """Lines of a file, and the pairs in them."""
    try:
        with path.open("rb") as file:
            for line in file:
                yield line, _pair(line)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"pairs {path} are damaged ({error}); delete the file to mine again"
        ) from None


def _pair(line: bytes) -> MaskTextPair:
    record = json.loads(line)
    return MaskTextPair(**{**record, "size": tuple(record["size"])})


@dataclass(frozen=True)
class Captioned:
    """Images with captions, from which pairs are mined.

    Attributes:
        images: training images.
        captions: stem of an image -> its captions.
        captions_per_image: the first ones, whose nouns are used.
        max_images: the first images with captions; None: all.
    """

    images: BenchmarkImages
    captions: Mapping[str, Sequence[str]]
    captions_per_image: int
    max_images: int | None

    def numbers(self, shard: int = 0, shards: int = 1) -> list[int]:
        """Images of a shard; the shards follow each other in the order of the images.

        Raises:
            InputError: no image has a caption.
        """
        found = [n for n in range(len(self.images)) if self.images.stem(n) in self.captions]
        found = found[: self.max_images]
        if not found:
            raise InputError(
                "no training image has a caption; are captions and images of one dataset?"
            )
        return found[len(found) * shard // shards : len(found) * (shard + 1) // shards]

    def nouns(self, number: int) -> list[str]:
        """Of an image's captions, each once."""
        first = self.captions[self.images.stem(number)][: self.captions_per_image]
        return list(dict.fromkeys(noun for text in first for noun in caption_nouns(text)))


@torch.inference_mode()
def mine_shard(
    scan: Scan,
    captioned: Captioned,
    numbers: Sequence[int],
    proposals: int,
    workers: int,
    output: Path,
) -> None:
    """Mine the pairs of some images, and write them.

    Args:
        scan: with a trained segmenter and the CLIP before fine-tuning.
        captioned: images and captions.
        numbers: of the images.
        proposals: number of proposals per image, those with the lowest no-object probability.
        workers: threads that read images ahead.
        output: file of the pairs.
    """
    precision = scan.settings.precision
    visual = tower_in(scan.network.original_clip, precision)
    no_object = scan.network.with_no_object(scan.text_encoder(captioned.images.index.names))

    def read(number: int) -> tuple[int, list[str], Tensor | None]:
        nouns = captioned.nouns(number)
        return number, nouns, scan.resize(captioned.images.image(number)) if nouns else None

    read_images = tqdm(read_ahead(read, numbers, workers), "images", len(numbers), mininterval=10)
    with (
        atomic_path(output) as temporary,
        temporary.open("w", encoding="utf-8") as file,
        convolutional_linear(scan.network),
    ):
        for number, nouns, resized in read_images:
            if resized is None:
                continue
            (image_features,) = scan.image_encoder.encode([resized], [], precision=precision)
            logits = class_logits(image_features.embeddings, no_object, scan.logit_scale())
            void = logits.softmax(-1)[:, -1]
            best = void.argsort(stable=True)[:proposals].sort().values
            masks = image_features.masks()[best] > scan.settings.crop_threshold
            crops = masked_crops(
                resized.to(masks.device), masks, visual.input, scan.settings.crop_expansion
            )
            if not len(crops.queries):
                continue
            step = chunk_size(visual, masks.device)
            with tensor_float(precision):
                parts = crops.images.split(step)
                features = torch.cat([encode_images(visual, part) for part in parts])
            scores, rows = class_logits(features, scan.text_encoder(nouns), 1.0).max(dim=0)
            chosen = crops.queries[rows]
            stem, queries = captioned.images.stem(number), best[chosen].tolist()
            found = zip(nouns, scores.tolist(), queries, masks[chosen].cpu().numpy(), strict=True)
            file.writelines(as_line(mask_text_pair(number, stem, *pair)) for pair in found)


@cache
def _tagger() -> Any:
    from HanTa.HanoverTagger import HanoverTagger

    return HanoverTagger("morphmodel_en.pgz")


def caption_nouns(caption: str) -> list[str]:
    """The nouns of a caption, in its order, each once, in lower case.

    Nouns that follow each other are one ("brick wall", "stop sign"); plurals are reduced to
    their singular.

    Args:
        caption: an English sentence; or, if it ends with a line break, one name per line.
    """
    if caption.endswith("\n"):
        return list(dict.fromkeys(caption.splitlines()))
    nouns: list[str] = []
    run: list[str] = []
    for word, lemma, tag in [*_tagger().tag_sent(_WORD.findall(caption)), ("", "", "END")]:
        if tag.startswith(_NOUN_TAGS):
            singular = _singular(word, lemma) if tag == "NN2" else word
            run.append(singular.lower())
        elif run:
            noun = " ".join(run)
            if noun not in _NOT_IN_THE_PICTURE and noun not in nouns:
                nouns.append(noun)
            run = []
    return nouns


def _singular(word: str, lemma: str) -> str:
    """The lemma, unless the tagger cut off more than a plural ("giraff" of "giraffes")."""
    if lemma and not word.lower().startswith(lemma.lower()):
        return lemma  # irregular: "men", "man"
    for ending, replacement in (("ies", "y"), ("sses", "ss"), ("shes", "sh"), ("ches", "ch")):
        if word.lower().endswith(ending):
            return word[: -len(ending)] + replacement
    return word[:-1] if word.lower().endswith("s") else lemma or word

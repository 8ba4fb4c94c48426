"""Mining of mask–noun pairs: which proposal of an image shows which noun of its captions.

As OVSeg does it: a trained segmenter proposes masks, a tagger finds the nouns of the captions,
the frozen CLIP scores every masked crop against every noun, and each noun gets its best proposal.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from scan_core.command.stopping import Interrupted, stop_signals
from scan_core.datasets.loading import BenchmarkImages
from scan_core.datasets.reading_ahead import read_ahead
from scan_core.errors import InputError
from scan_core.inference.devices import TowerByPrecision, tensor_float
from scan_core.inference.scan import Scan
from scan_core.models.clip import chunk_size, encode_images
from scan_core.models.cpu_linear import ConvolutionalLinear
from scan_core.models.crops import masked_crops
from scan_core.models.scan import class_logits
from scan_core.storage.atomic import write_text
from scan_core.storage.journal import Journal
from scan_core.training.mask_text_pairs import MaskTextPair, as_line, mask_text_pair
from scan_core.training.nouns import caption_nouns

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Captioned:
    """Images with captions, from which pairs are mined.

    Attributes:
        images: training images.
        captions: stem of an image -> its captions.
        captions_per_image: of which the nouns are used, the first ones.
        largest_number: of images with captions, the first ones; None: all.
    """

    images: BenchmarkImages
    captions: Mapping[str, Sequence[str]]
    captions_per_image: int
    largest_number: int | None

    def numbers(self, shard: int = 0, shards: int = 1) -> list[int]:
        """Images of a shard: the shards follow each other in the order of the images.

        Raises:
            InputError: no image has a caption.
        """
        told = [n for n in range(len(self.images)) if self.images.stem(n) in self.captions]
        told = told[: self.largest_number]
        if not told:
            raise InputError(
                "no training image has a caption; are captions and images of one dataset?"
            )
        return told[len(told) * shard // shards : len(told) * (shard + 1) // shards]

    def nouns(self, number: int) -> list[str]:
        """Of an image's captions, each once."""
        first = self.captions[self.images.stem(number)][: self.captions_per_image]
        return list(dict.fromkeys(noun for text in first for noun in caption_nouns(text)))


@torch.inference_mode()
def mine_pairs(
    scan: Scan, captioned: Captioned, numbers: Sequence[int], proposals: int, workers: int = 0
) -> Iterator[list[MaskTextPair]]:
    """The pairs of one image after the other.

    Args:
        scan: with a trained segmenter and the CLIP before fine-tuning.
        captioned: images and captions.
        numbers: of the images.
        proposals: of each image, those that are most certain to be something.
        workers: threads that read images ahead.
    """
    precision = scan.settings.precision
    visual = TowerByPrecision(scan.network.original_clip).of(precision)
    no_object = scan.network.with_no_object(scan.text_encoder(captioned.images.index.names))

    def read(number: int) -> tuple[int, list[str], Tensor | None]:
        nouns = captioned.nouns(number)
        return number, nouns, scan.resize(captioned.images.image(number)) if nouns else None

    with ConvolutionalLinear(scan.network):
        for number, nouns, resized in read_ahead(read, numbers, workers):
            if resized is None:
                yield []
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
                yield []
                continue
            step = chunk_size(visual, masks.device)
            with tensor_float(precision):
                parts = crops.images.split(step)
                features = torch.cat([encode_images(visual, part) for part in parts])
            scores, rows = class_logits(features, scan.text_encoder(nouns), 1.0).max(dim=0)
            chosen = crops.queries[rows]
            stem = captioned.images.stem(number)
            yield [
                mask_text_pair(number, stem, noun, score, query, mask)
                for noun, score, query, mask in zip(
                    nouns,
                    scores.tolist(),
                    best[chosen].tolist(),
                    masks[chosen].cpu().numpy(),
                    strict=True,
                )
            ]


def mine_shard(
    scan: Scan,
    captioned: Captioned,
    numbers: Sequence[int],
    proposals: int,
    workers: int,
    identity: Mapping[str, Any],
    output: Path,
) -> None:
    """Mine, and write the pairs; killed and called again it goes on with the next image.

    Args:
        scan: see `mine_pairs`.
        captioned: see `mine_pairs`.
        numbers: see `mine_pairs`.
        proposals: see `mine_pairs`.
        workers: see `mine_pairs`.
        identity: what the pairs depend on; those of another identity are not continued.
        output: file of the pairs. What is mined so far stands beside it until it is made.

    Raises:
        Interrupted: a signal to stop came.
    """
    path = output.with_name(f"{output.stem}.journal")
    with stop_signals() as signals, Journal(path, identity) as journal:
        done = len(journal.entries)
        if done:
            _log.info("continuing after %d of %d images", done, len(numbers))
        mined = mine_pairs(scan, captioned, numbers[done:], proposals, workers)
        progress = tqdm(mined, "images", len(numbers), initial=done, mininterval=10)
        for pairs in progress:
            journal.add([asdict(pair) for pair in pairs])
            if signals:
                _log.info(
                    "signal %d: stopped after %d of %d images; run again to continue",
                    *(signals[0], len(journal.entries), len(numbers)),
                )
                raise Interrupted(signals[0])
        records = [record for entry in journal.entries for record in entry]
        write_text(output, "".join(as_line(MaskTextPair(**record)) for record in records))
        journal.remove()

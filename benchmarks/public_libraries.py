"""The same work by public libraries: what this project's times are compared to, in the same run.

Mask2Former of transformers proposes the masks, open_clip's CLIP looks at the whole image and at the
masked crops, and the scores are combined as the released implementation does it. All in float32,
in plain PyTorch, one thing after the other. Semantic integration and contextual shift, which no
library has, are left out: they would add to these times.
"""

import time

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

from benchmarks.machine import wait_for
from scan_core.models.crops import mask_boxes
from scan_core.params.schema.recipe import Recipe

_SIDE_MULTIPLE = 32
_WEIGHT = 0.7  # of CLIP in the ensemble


class PublicLibraries:
    """Networks of a recipe's sizes, with random weights.

    Args:
        recipe: with an architecture of open_clip's.
        device: where they run.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        torch.manual_seed(0)
        self.device = device
        self.proposals = _mask2former(recipe)
        nn.Module.to(self.proposals, device)
        self.clip = open_clip.create_model(str(recipe.clip.architecture), pretrained=None)
        self.clip = self.clip.to(device).eval()
        self.side = int(self.clip.visual.image_size[0])

    @torch.inference_mode()
    def infer(self, image: Tensor, classes: int) -> dict[str, float]:
        """Segment an image; seconds of every part.

        Args:
            image: (3, H, W) uint8.
            classes: number of random class features.
        """
        nn.Module.eval(self.proposals)
        size = (image.shape[1], image.shape[2])
        text = F.normalize(torch.randn(classes, self.clip.visual.output_dim), dim=-1)
        text, marks = text.to(self.device), [self._now()]
        pixels = _padded(image.float() / 255)[None]
        proposed = self.proposals(pixels)
        whole = F.interpolate(pixels, (self.side, self.side), mode="bicubic")
        self.clip.encode_image(whole)
        marks.append(self._now())

        logits = F.interpolate(proposed.masks_queries_logits, pixels.shape[-2:], mode="bilinear")
        masks = logits[0, :, : size[0], : size[1]].sigmoid()
        # As in the benchmark of this project: every mask has pixels, and half of the image.
        chosen = masks > masks.flatten(1).median(1).values[:, None, None]
        crops = self._crops(pixels[0], chosen)
        marks.append(self._now())

        features = F.normalize(self.clip.encode_image(crops), dim=-1)
        marks.append(self._now())

        theirs = (100 * features @ text.T).softmax(-1)
        ours = torch.randn(len(masks), classes, device=self.device).softmax(-1)
        scores = ours.pow(1 - _WEIGHT) * theirs.pow(_WEIGHT)
        torch.einsum("qc,qhw->chw", scores, masks).argmax(0)
        marks.append(self._now())
        names = ("proposals, whole image", "masks and crops", "CLIP on crops", "combine")
        return {n: b - a for n, a, b in zip(names, marks[:-1], marks[1:], strict=True)}

    def train(self, images: Tensor, masks: Tensor, optimizer: torch.optim.Optimizer) -> float:
        """Take a training step of the proposals; seconds.

        Args:
            images: (B, 3, S, S) uint8.
            masks: (N, S, S) bool, of every image, each of another class.
            optimizer: over the parameters of `proposals`.
        """
        self.proposals.train()
        start = self._now()
        pixels = images.float() / 255
        whole = F.interpolate(pixels, (self.side, self.side), mode="bicubic")
        with torch.no_grad():
            self.clip.encode_image(whole)
        numbers = torch.arange(len(masks), device=self.device)
        result = self.proposals(
            pixels,
            mask_labels=[masks.float()] * len(images),
            class_labels=[numbers] * len(images),
        )
        result.loss.backward()
        nn.utils.clip_grad_norm_(self.proposals.parameters(), 0.01)
        optimizer.step()
        optimizer.zero_grad()
        return self._now() - start

    def _crops(self, pixels: Tensor, masks: Tensor) -> Tensor:
        crops = [
            F.interpolate(
                (pixels[:, y0:y1, x0:x1] * mask[y0:y1, x0:x1])[None],
                (self.side, self.side),
                mode="bicubic",
            )
            for mask, (x0, y0, x1, y1) in zip(masks, mask_boxes(masks).tolist(), strict=True)
        ]
        return torch.cat(crops)

    def _now(self) -> float:
        wait_for(self.device)
        return time.perf_counter()


def _mask2former(recipe: Recipe) -> Mask2FormerForUniversalSegmentation:
    segmenter = recipe.segmenter
    backbone, pixel, masks = segmenter.backbone, segmenter.pixel_decoder, segmenter.mask_decoder
    return Mask2FormerForUniversalSegmentation(
        Mask2FormerConfig(  # type: ignore[call-arg]
            backbone_config=SwinConfig(
                embed_dim=backbone.embed_dim,
                depths=list(backbone.depths),
                num_heads=list(backbone.heads),
                window_size=backbone.window,
                drop_path_rate=backbone.drop_path,
                out_features=["stage1", "stage2", "stage3", "stage4"],  # type: ignore[call-arg]
            ),
            feature_size=pixel.width,
            mask_feature_size=pixel.mask_width,
            hidden_dim=masks.width,
            encoder_feedforward_dim=pixel.feedforward,
            encoder_layers=pixel.layers,
            num_attention_heads=masks.heads,
            dim_feedforward=masks.feedforward,
            decoder_layers=masks.layers + 1,  # the first only reads the queries
            num_queries=masks.queries,
            train_num_points=segmenter.loss.points,
            num_labels=171,
        )
    )


def _padded(image: Tensor) -> Tensor:
    bottom, right = (-side % _SIDE_MULTIPLE for side in image.shape[-2:])
    return F.pad(image, (0, right, 0, bottom))

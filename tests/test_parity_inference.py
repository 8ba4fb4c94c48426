"""Inference equals the released model's, stage by stage (tests/parity/README.md)."""

import random

import open_clip
import pytest
import torch
from parity_pack import image, tiny_network
from small_models import class_scores, settings
from torch.nn import functional as F

from scan_core.inference.class_map import class_maps, combine_scores
from scan_core.inference.image_features import CropSetting, ImageEncoder
from scan_core.models.clip import embed_patches, encode_whole_images
from scan_core.models.contextual_shift import background_patches, replaced_counts
from scan_core.models.cpu_linear import convolutional_linear
from scan_core.models.crops import masked_crops
from scan_core.models.preprocessing import ClipInput, backbone_input, resize_for_clip
from scan_core.models.scan import class_logits
from scan_core.models.text_features import TextEncoder
from scan_core.params.schema.recipe import ReleasedDefects
from scan_core.vocabulary.classes import prompt_templates

FINE, LOGITS, MARGIN = 3e-5, 1e-4, 2e-4  # recommended with the numbers
OUTPUT = (137, 213)


class Run:
    """The measured run, as far as the networks go."""

    def __init__(self, settings, network):
        self.settings = settings
        self.network = network
        defects = ReleasedDefects(**dict.fromkeys(ReleasedDefects.model_fields, True))
        self.image_encoder = ImageEncoder(self.network, 0, defects)
        self.image = torch.from_numpy(image(11, 110, 171))
        self.pixels = backbone_input([self.image])
        self.clip_input = resize_for_clip([self.image], ClipInput(224), as_released=True)
        with convolutional_linear():
            self.view = encode_whole_images(
                self.network.original_clip, self.clip_input, range(1, 7)
            )
            self.maps = self.network.proposal_network.backbone(self.pixels)
            self.features = self.network.proposal_network.pixel_decoder(self.maps)
            self.proposals = self.network.proposal_network.mask_decoder(self.features, True)
            (self.image_features,) = self.image_encoder.propose([self.image])
            tokenizer = open_clip.SimpleTokenizer(context_length=77)
            encoder = TextEncoder(self.network.clip, tokenizer, prompt_templates("vild"))
            self.text = self.network.with_no_object(encoder(settings["classes"]))
        self.logits = class_logits(self.image_features.embeddings, self.text, 100)
        self.masks = self.image_features.masks()
        self.crops = masked_crops(self.image, self.masks > settings["thr"], ClipInput(224))
        self.valid = torch.zeros(100, dtype=torch.bool)
        self.valid[self.crops.queries] = True

    def crop_features(self, ratio):
        random.seed(self.settings["rseed"])
        with convolutional_linear():
            crops = self.crop_setting(ratio)
            return self.image_encoder.encode_crops(
                self.crops, self.image_features.cls, [crops], 100, 0
            )[0]

    def crop_setting(self, ratio):
        return CropSetting(self.settings["thr"], 1.0, ratio, tuple(self.settings["layers"]))

    def combined(self, features, weight, ensemble="geometric"):
        one = settings(self.settings["thr"], weight, 0.05, ensemble=ensemble)
        clip_logits = class_logits(features, self.text[:-1], 100)
        return combine_scores(
            self.logits,
            clip_logits,
            self.valid,
            one,
            rejected_score_one=True,
            zero_weight_is_clip_only=True,
        )


@pytest.fixture(scope="module")
def run(pack):
    network = tiny_network()
    with torch.inference_mode():
        return Run(pack.table("settings"), network)


def test_inputs(pack, run):
    pack.check("eval.image", run.image, "inputs", 0)
    pack.check("eval.swin_input", run.pixels, "inputs", FINE)
    pack.check("eval.clip_input", run.clip_input, "inputs", FINE)


@torch.inference_mode()
def test_frozen_clip(pack, run):
    stage = "frozen CLIP, whole image"
    tokens = embed_patches(run.network.original_clip, run.clip_input)[:, 1:]
    pack.check("eval.original_clip.tokens0", tokens.transpose(0, 1), stage, FINE)
    for block in range(7):
        pack.check(f"eval.original_clip.{block}_cls_token", run.view.cls[block][None], stage, FINE)
        if block:
            tokens = run.view.patches[block].transpose(0, 1)
            pack.check(f"eval.original_clip.tokens{block}", tokens, stage, FINE)
    pack.check("eval.original_clip.final_cls_token", run.view.feature, stage, FINE)


def test_backbone_and_pixel_decoder(pack, run):
    for stage, feature_map in enumerate(run.maps, start=2):
        pack.check(f"eval.swin.res{stage}", feature_map, "Swin", FINE)
    for level, feature_map in enumerate(run.features.levels):
        pack.check(f"eval.pixel.ms{level}", feature_map, "pixel decoder", FINE)
    first = run.features.levels[0]
    pack.check("eval.pixel.transformer_encoder_features", first, "pixel decoder", FINE)
    pack.check("eval.pixel.mask_features", run.features.mask_features, "pixel decoder", FINE)


def test_mask_decoder(pack, run):
    proposals = run.proposals
    for output in range(5):
        name = "eval.decoder" if output == 4 else f"eval.decoder.aux{output}"
        embeddings = proposals.embeddings[output]
        masks = torch.einsum(
            "bqm,bmhw->bqhw", proposals.mask_embeddings[output], proposals.mask_features
        )
        pack.check(f"{name}.class_embed", embeddings, "mask decoder", FINE)
        pack.check(f"{name}.pred_masks", masks, "mask decoder", FINE)


@torch.inference_mode()
def test_semantic_integration(pack, run):
    module, stage = run.network.semantic_integration, "semantic integration"
    enhanced = []
    for index, (layer, sigma) in enumerate(zip((2, 4, 6), (9.0, 7.0, 3.0), strict=True)):
        maps = run.view.patches[layer].transpose(1, 2).unflatten(2, (14, 14))
        pack.check(f"eval.lfm{index}.in", maps, stage, FINE)
        enhanced.append(module.low_frequency(maps, torch.tensor([sigma])))
        pack.check(f"eval.lfm{index}.out", enhanced[-1], stage, FINE)
    tokens = torch.cat([maps.flatten(2).transpose(1, 2) for maps in enhanced], dim=1)
    pack.check("eval.oriclip_mlp.in", tokens, stage, FINE)
    context = module.context(run.view)
    pack.check("eval.oriclip_mlp.out", context.memory, stage, FINE)
    fused = module.fusion(run.proposals.embeddings[-1], context.memory)
    pack.check("eval.fusion.out", fused, stage, FINE)
    with_prior = fused + module.prior_scale * context.prior[:, None]
    pack.check("eval.light.in", with_prior.transpose(0, 1), stage, LOGITS)
    pack.check("eval.light.out", run.image_features.embeddings[:, None], stage, LOGITS)


def test_in_vocabulary_classification(pack, run):
    pack.check("eval.text_features", run.text, "text features", FINE)
    pack.check("eval.in_vocab_logits", run.logits[None], "in-vocabulary logits", LOGITS)


def test_masks_and_crops(pack, run):
    stage = "masks and crops"
    seen = run.image_features
    full = F.interpolate(seen.mask_logits[None], seen.padded, mode="bilinear", align_corners=False)[
        0, :, :110, :171
    ]
    pack.check("eval.mask_pred", full, stage, FINE)
    pack.check("eval.bin_masks", run.masks > run.settings["thr"], stage, 0)
    pack.check("eval.valid", run.valid, stage, 0)
    pack.check("eval.boxes", run.crops.boxes, stage, 0)
    pack.check("eval.crops", run.crops.images, stage, FINE)
    images = run.crops.images.flatten(1)
    pack.check("eval.crops_mean", images.mean(1), stage, FINE)
    pack.check("eval.crops_absmean", images.abs().mean(1), stage, FINE)
    pack.check("eval.crops_std", images.std(1), stage, FINE)
    pack.check("eval.crop_masks", run.crops.masks, stage, 0)
    pack.check("eval.crop_masks_area", run.crops.masks.flatten(1).sum(1), stage, 0)
    foreground = ~background_patches(run.crops.masks, (16, 16)).view(-1, 14, 14)
    pack.check("eval.patch_masks", foreground, stage, 0)


@torch.inference_mode()
def test_contextual_shift_and_class_maps(pack, run):
    background = background_patches(run.crops.masks, (16, 16))
    layers = len(run.settings["layers"])
    for ratio in run.settings["ratios"]:
        name = f"eval_ratio.r{ratio}"
        drawn = replaced_counts(background, ratio).repeat(layers)
        pack.check(f"{name}.draws_n", background.sum(1).repeat(layers), "contextual shift", 0)
        pack.check(f"{name}.draws_k", drawn, "contextual shift", 0)
        assert len(pack.stored(f"{name}.draws_chosen")) == drawn.sum()
        features = run.crop_features(ratio)
        shown = features[run.crops.queries]
        logits = class_logits(shown, run.text, 100)
        pack.check(f"{name}.clip_features", shown, "contextual shift", FINE)
        pack.check(f"{name}.clip_logits", logits, "contextual shift", LOGITS)
        _check_maps(pack, run, name, run.combined(features, run.settings["weight"]))
        if ratio == run.settings["ratio"]:
            pack.check("eval.clip_features", shown, "contextual shift", FINE)
            pack.check("eval.clip_logits", logits, "contextual shift", LOGITS)


@torch.inference_mode()
def test_which_tokens_are_drawn(pack, run):
    """Positions among the background tokens, layer by layer, crop by crop."""
    random.seed(run.settings["rseed"])
    background = background_patches(run.crops.masks, (16, 16))
    shift = run.image_encoder.shift(
        run.crops, run.image_features.cls, run.crop_setting(0.05), 100, 0
    )
    expected = iter(pack.stored("eval.draws_chosen").tolist())
    counts = replaced_counts(background, 0.05).tolist()
    for layer in (1, 3, 5):
        for row, count in enumerate(counts):
            places = background[row].nonzero()[:, 0]
            drawn = [next(expected) for _ in range(count)]
            assert sorted(drawn) == (shift.chosen[layer][row][places].nonzero()[:, 0].tolist())
    assert next(expected, None) is None
    for ratio in run.settings["ratios"]:
        pack.unchecked.discard(f"eval_ratio.r{ratio}.draws_chosen")


@torch.inference_mode()
def test_ensembles(pack, run):
    features = run.crop_features(run.settings["ratio"])
    for weight in run.settings["weights"]:
        _check_maps(pack, run, f"eval_weight.w{weight}", run.combined(features, weight))
    for name, ensemble in (
        ("ade20k_full_sem_seg_val", "log"),
        ("pascal_context_459_sem_seg_val", "log"),
        ("ade20k_sem_seg_val", "geometric"),
    ):
        scores = run.combined(features, run.settings["weight"], ensemble)
        _check_maps(pack, run, f"eval_log.{name}", scores)
    scores = run.combined(features, run.settings["weight"])
    _check_maps(pack, run, "eval.final", scores)
    before = class_scores(run.masks, scores, (110, 171))
    pack.check("eval.semseg_before_resize", before, "class maps", LOGITS)


def _check_maps(pack, run, name, scores):
    maps = class_scores(run.masks, scores, OUTPUT)
    pack.check(f"{name}.sem_seg", maps, "class maps", LOGITS)
    best = maps.topk(2, dim=0).values
    pack.check(f"{name}.margin", best[0] - best[1], "class maps", MARGIN)
    pack.check(f"{name}.argmax", maps.argmax(0), "class of every pixel", 0)
    (without_maps,) = class_maps(run.masks, [scores], OUTPUT)
    pack.check(f"{name}.argmax", without_maps, "class of every pixel", 0)

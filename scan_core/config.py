"""The schema of `params.yaml`: every key, its type, its bounds, and what it means.

One class is one block of the file; the string below a field is its documentation, from which
`docs/parameters.md` is generated. Nothing has a default: what a recipe does is written in the
recipe. `scan_core.recipes` reads the file and reports what is wrong with it.
"""

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Split = Literal["train", "val"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
PromptSet = Literal["vild", "imagenet", "single"]


def _source(*words: str, prefixes: tuple[str, ...]) -> AfterValidator:
    def check(value: str) -> str:
        if value in words or any(value.startswith(p) and len(value) > len(p) for p in prefixes):
            return value
        allowed = [*words, *(f"{p}<...>" for p in prefixes)]
        raise ValueError(f"'{value}' is not allowed; expected {' | '.join(allowed)}")

    return AfterValidator(check)


# Choosing by the kind of value gives one error message for a union instead of one a member;
# the tags' brackets mark them as no part of the key's path.
_TABLE_OR_VALUE = Discriminator(
    lambda value: "[table]" if isinstance(value, dict | BaseModel) else "[value]"
)
_WORD_OR_VALUE = Discriminator(lambda value: "[word]" if isinstance(value, str) else "[value]")


class Block(BaseModel):
    """A block of the file: no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )


class Miniworld(Block):
    """The generated world, for `datasets.source: generate`."""

    image_size: Annotated[int, Field(ge=32, le=384)]
    """Longer side of an image, pixels."""
    training_images: PositiveInt
    """Images to train the segmenter on (COCO-Stuff layout, `train`)."""
    tuning_images: PositiveInt
    """Images of each benchmark's `train` split, on which inference settings are chosen."""
    test_images: PositiveInt
    """Images of every `val` split, on which results are reported."""


class Benchmark(Block):
    """One dataset in one vocabulary."""

    format: Literal["coco_stuff", "ade20k_150", "ade20k_847", "pascal_voc", "pascal_context"]
    """Raw layout to convert from."""
    classes: str
    """Class list: a built-in name, or the path of a .json file."""
    images: dict[Split, Count | None]
    """Splits to convert, and how many images each must list (`null`: not checked)."""


class Datasets(Block):
    """Where raw data comes from and what it becomes."""

    source: Annotated[str, _source("generate", "download", prefixes=("local:",))]
    """`generate` the miniature world, `download` the archives, or `local:<path>` to use raw
    layouts that are already on disk (they are only read)."""
    root: Annotated[str, Field(min_length=1)]
    """Folder for archives, raw data and converted benchmarks. Recipes may share it."""
    miniworld: Miniworld | None
    """Size of the generated world; `null` unless `source` is `generate`."""
    train: str
    """The benchmark whose `train` split the segmenter learns from."""
    benchmarks: Annotated[dict[str, Benchmark], Field(min_length=1)]
    """The benchmarks, by a name of your choice (letters, digits, `_`)."""

    @model_validator(mode="after")
    def _consistent(self) -> "Datasets":
        if (self.source == "generate") != (self.miniworld is not None):
            raise ValueError("'miniworld' must be given with 'source: generate', null otherwise")
        if "train" not in getattr(self.benchmarks.get(self.train), "images", {}):
            raise ValueError(f"'train: {self.train}' names no benchmark with a 'train' split")
        for name in self.benchmarks:
            if not name.replace("_", "").isalnum():
                raise ValueError(f"benchmark name '{name}': use letters, digits and '_' only")
        return self


class ClipArchitecture(Block):
    """A CLIP small enough to train within the workflow (classes of open_clip)."""

    embed_dim: PositiveInt
    """Width of the joint embedding."""
    image_size: PositiveInt
    """Side of the input image, pixels."""
    patch_size: PositiveInt
    """Side of a patch, pixels."""
    vision_width: PositiveInt
    """Width of the image tower."""
    vision_layers: PositiveInt
    """Blocks of the image tower."""
    text_width: PositiveInt
    """Width of the text tower."""
    text_layers: PositiveInt
    """Blocks of the text tower."""
    head_width: PositiveInt
    """Width of an attention head, both towers."""
    context_length: PositiveInt
    """Tokens of a caption."""
    stem: Literal["patches", "convolutional"]
    """How pixels become tokens: CLIP's linear patch embedding, or convolutions, which learn
    shapes from far fewer pictures; `patch_size` is then a power of two."""


class ClipPretraining(Block):
    """Training of that CLIP on captioned images of the miniature world."""

    images: PositiveInt
    """Captioned images."""
    cutouts: PositiveInt
    """Segments of scenes under imperfect masks, with their names."""
    steps: PositiveInt
    """Optimiser steps."""
    cutout_steps: Count
    """The last steps, three quarters of whose pictures are such segments."""
    batch_size: PositiveInt
    """Images a step."""
    learning_rate: PositiveFloat
    """Peak of the cosine schedule."""
    weight_decay: Weight
    """AdamW's weight decay."""
    warmup_steps: Count
    """Linear warm-up, steps."""


class Clip(Block):
    """The frozen vision–language model."""

    source: Annotated[str, _source("train", prefixes=("open_clip:", "file:"))]
    """`train` a small one, `open_clip:<pretrained tag>`, or `file:<path>`."""
    architecture: Annotated[
        Annotated[str, Tag("[value]")] | Annotated[ClipArchitecture, Tag("[table]")],
        _TABLE_OR_VALUE,
    ]
    """open_clip's model name, or the dimensions of a small one."""
    pretraining: ClipPretraining | None
    """How to train it; `null` unless `source` is `train`."""
    prompts: PromptSet
    """Template set for class names; the released model uses `vild` (14 templates)."""

    @model_validator(mode="after")
    def _consistent(self) -> "Clip":
        if (self.source == "train") != (self.pretraining is not None):
            raise ValueError("'pretraining' must be given with 'source: train', null otherwise")
        if (self.source == "train") != isinstance(self.architecture, ClipArchitecture):
            raise ValueError(
                "'architecture' must list dimensions with 'source: train', and be a model name "
                "of open_clip otherwise"
            )
        return self


class Backbone(Block):
    """Swin transformer."""

    weights: Annotated[str, _source("none", prefixes=("download:", "file:"))]
    """ImageNet weights: `none`, `download:<name>` or `file:<path>`."""
    embed_dim: PositiveInt
    """Channels of the first stage."""
    depths: Annotated[list[PositiveInt], Field(min_length=4, max_length=4)]
    """Blocks of each of the four stages."""
    heads: Annotated[list[PositiveInt], Field(min_length=4, max_length=4)]
    """Attention heads of each stage."""
    window: PositiveInt
    """Side of an attention window, tokens."""
    drop_path: Fraction
    """Largest stochastic-depth rate."""


class PixelDecoder(Block):
    """Multi-scale deformable attention over strides 8–32, and the mask features at stride 4."""

    width: PositiveInt
    """Channels of the feature maps."""
    mask_width: PositiveInt
    """Channels of the mask features."""
    layers: PositiveInt
    """Deformable encoder layers."""
    heads: PositiveInt
    """Attention heads."""
    points: PositiveInt
    """Sampling points for each head and level."""
    feedforward: PositiveInt
    """Width of the feed-forward network."""


class MaskDecoder(Block):
    """Masked-attention decoder."""

    queries: PositiveInt
    """Mask proposals for each image."""
    layers: PositiveInt
    """Decoder layers. The released model has 10, one more than Mask2Former would build."""
    width: PositiveInt
    """Width of the queries."""
    heads: PositiveInt
    """Attention heads."""
    feedforward: PositiveInt
    """Width of the feed-forward network."""
    embedding_hidden: PositiveInt
    """Hidden width of the MLP from query to CLIP embedding."""


class SemanticIntegration(Block):
    """SIM: CLIP's tokens enrich the mask embeddings."""

    enabled: bool
    """`false` trains the segmenter without it (ablation)."""
    clip_layers: Annotated[list[PositiveInt], Field(min_length=1)]
    """CLIP blocks (1-based) whose patch tokens are used."""
    sigmas: Annotated[list[PositiveFloat], Field(min_length=1)]
    """Width of the Gaussian of the frequency filter, one for each of `clip_layers`."""
    fusion_layers: PositiveInt
    """Cross-attention layers from queries to CLIP tokens."""
    encoder_layers: PositiveInt
    """Transformer layers after the [CLS] prior is added."""
    encoder_feedforward: PositiveInt
    """Width of their feed-forward network."""
    heads: PositiveInt
    """Attention heads."""
    dropout: Fraction
    """Dropout of the encoder."""

    @model_validator(mode="after")
    def _consistent(self) -> "SemanticIntegration":
        if len(self.sigmas) != len(self.clip_layers):
            raise ValueError("'sigmas' needs one number for each of 'clip_layers'")
        return self


class Loss(Block):
    """Set criterion of Mask2Former; the matcher's costs are the same weights."""

    class_weight: Weight
    """Weight of the classification loss."""
    mask_weight: Weight
    """Weight of the binary cross-entropy of masks."""
    dice_weight: Weight
    """Weight of the dice loss."""
    no_object_weight: Weight
    """Weight of the no-object class within the classification loss."""
    points: PositiveInt
    """Points at which a mask is compared."""
    oversample_ratio: Annotated[float, Field(ge=1)]
    """Candidate points for each point used."""
    importance_ratio: Fraction
    """Share of the points that are taken where the prediction is uncertain."""


class Augmentation(Block):
    """Training input."""

    short_side: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)]
    """Smallest and largest short side of the scale jitter, pixels."""
    scale_step: Fraction
    """Step of the scale jitter, as a share of `crop_size`."""
    longest_side: PositiveInt
    """No side is made longer than this, pixels."""
    crop_size: PositiveInt
    """Side of the random crop, pixels."""
    max_category_share: Fraction
    """A crop in which one class covers more than this is drawn again; 1: never."""
    color_jitter: bool
    """SSD's photometric distortion."""
    horizontal_flip: Fraction
    """Probability of a mirror image."""


class SegmenterTraining(Block):
    """Optimisation of the segmenter."""

    steps: PositiveInt
    """Optimiser steps."""
    batch_size: PositiveInt
    """Images a step, over all devices."""
    learning_rate: PositiveFloat
    """Peak learning rate of AdamW."""
    weight_decay: Weight
    """Weight decay; norms, embeddings and relative position biases have none."""
    warmup_steps: Count
    """Linear warm-up, steps."""
    warmup_factor: Fraction
    """First learning rate, as a share of the peak."""
    power: PositiveFloat
    """Exponent of the polynomial decay."""
    gradient_clip: PositiveFloat
    """Largest norm of the whole model's gradient."""
    precision: Precision
    """Arithmetic, in Lightning Fabric's words."""
    checkpoint_every: PositiveInt
    """Steps between checkpoints."""
    validate_every: PositiveInt
    """Steps between validations on the training benchmark's `val` split."""


class Segmenter(Block):
    """The proposal network and its training."""

    backbone: Backbone
    pixel_decoder: PixelDecoder
    mask_decoder: MaskDecoder
    semantic_integration: SemanticIntegration
    loss: Loss
    augmentation: Augmentation
    training: SegmenterTraining


class MaskTextPairs(Block):
    """Mining of mask–noun pairs, on which CLIP is fine-tuned."""

    captions_per_image: PositiveInt
    """Captions of each training image whose nouns are used."""
    proposals: PositiveInt
    """Proposals of the segmenter for each image, the best first."""
    images: PositiveInt | None
    """Training images with captions to mine, the first ones; `null`: all."""


class ClipFinetune(Block):
    """Fine-tuning of CLIP's image tower on masked crops; the text tower stays frozen."""

    contextual_shift: bool
    """`false` fine-tunes, and then also tests, without the contextual shift (ablation)."""
    pairs: MaskTextPairs
    loss: Literal["diagonal", "multi_positive"]
    """Contrastive loss. `diagonal`: each crop fits its own noun alone, as released;
    `multi_positive`: crops of a batch that share a noun share it in the loss too."""
    epochs: PositiveInt
    """Passes over the pairs."""
    batch_size: PositiveInt
    """Pairs a step, over all devices."""
    learning_rate: PositiveFloat
    """Peak of the cosine schedule."""
    weight_decay: Weight
    """AdamW's weight decay."""
    warmup_steps: Count
    """Linear warm-up, steps."""
    replace_ratio: Fraction
    """Contextual shift while fine-tuning: share of background tokens replaced."""
    replace_layers: list[PositiveInt]
    """Contextual shift while fine-tuning: after which blocks (1-based)."""
    precision: Precision
    """Arithmetic, in Lightning Fabric's words."""


Ensemble = Literal["geometric", "log"]
PerBenchmarkFraction = Annotated[
    Annotated[Fraction, Tag("[value]")] | Annotated[dict[str, Fraction], Tag("[table]")],
    _TABLE_OR_VALUE,
]
PerBenchmarkEnsemble = Annotated[
    Annotated[Ensemble, Tag("[value]")] | Annotated[dict[str, Ensemble], Tag("[table]")],
    _TABLE_OR_VALUE,
]


class ReleasedDefects(Block):
    """Defects of the released implementation: each is repaired unless its switch is `true`.

    `faithful: true` sets them all; `docs/released_behaviour.md` says what each does.
    """

    fail_without_masks: bool
    """An image of which no mask exceeds the threshold is an error, not a result without CLIP."""
    first_image_context: bool
    """Crops of all images of a batch get the first image's [CLS] token."""
    global_random_draws: bool
    """Contextual shift draws from Python's global random state, which nothing seeds."""
    nearest_padded_view: bool
    """CLIP sees the whole batch's images with their padding, shrunk by taking nearest pixels."""
    rejected_masks_score_one: bool
    """A mask that CLIP was not shown has CLIP's full score for every class."""
    stale_text_features: bool
    """Text features outlive a change of the text tower's weights."""
    zero_weight_is_clip_only: bool
    """`clip_weight: 0` means CLIP alone, the opposite of its limit."""
    discard_last_auxiliary_loss: bool
    """The losses of the last auxiliary output are computed and then not used."""


class Inference(Block):
    """Test-time settings. A single value holds for every benchmark; a table names each."""

    benchmarks: Annotated[list[str], Field(min_length=1)]
    """The benchmarks to evaluate, in the order of the tables."""
    short_side: PositiveInt
    """Test images are resized to this short side, pixels."""
    longest_side: PositiveInt
    """But no side longer than this, pixels."""
    crop_expansion: Annotated[float, Field(ge=1)]
    """Width and height of a crop, as a multiple of its mask's bounding box, also in training; 1:
    tight, as released. Around a mask there is nothing to see but contextual shift's tokens."""
    replace_layers: list[PositiveInt]
    """Contextual shift: after which blocks of CLIP (1-based)."""
    logit_scale: Annotated[
        Annotated[PositiveFloat, Tag("[value]")] | Annotated[Literal["learned"], Tag("[word]")],
        _WORD_OR_VALUE,
    ]
    """Factor of the cosine similarities; the released model uses 100, not CLIP's own."""
    mask_threshold: PerBenchmarkFraction
    """A proposal without a pixel above this probability is not shown to CLIP."""
    crop_threshold: Annotated[
        Annotated[Fraction, Tag("[value]")] | Annotated[Literal["mask_threshold"], Tag("[word]")],
        _WORD_OR_VALUE,
    ]
    """Pixels of a proposal above this probability form its crop. `mask_threshold`: that one, as
    released; a number of its own lets a grid over `mask_threshold` reuse the crops."""
    clip_weight: PerBenchmarkFraction
    """Exponent of CLIP's score in the geometric ensemble (in-vocabulary: 1 − it)."""
    replace_ratio: PerBenchmarkFraction
    """Contextual shift: share of background tokens replaced."""
    ensemble: PerBenchmarkEnsemble
    """`log` weighs by the probability of being an object at all, `geometric` does not."""
    prompts: Literal["trained", "vild", "imagenet", "single"]
    """Template set for class names at test time; `trained`: that of `clip.prompts`."""


class Recipe(Block):
    """One experiment, complete."""

    seed: Count
    """Seed of every random stream."""
    faithful: bool
    """`true` repeats the released implementation to its last quirk."""
    released_defects: ReleasedDefects
    grids: list[str]
    """Ablation grids that `all` builds, by their names under `ablations`."""
    datasets: Datasets
    clip: Clip
    segmenter: Segmenter
    clip_finetune: ClipFinetune
    inference: Inference

    @property
    def defects(self) -> ReleasedDefects:
        """The released defects to repeat: all of them if `faithful`."""
        if not self.faithful:
            return self.released_defects
        return ReleasedDefects(**dict.fromkeys(ReleasedDefects.model_fields, True))

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        known = self.datasets.benchmarks
        for name in self.inference.benchmarks:
            if "val" not in getattr(known.get(name), "images", {}):
                raise ValueError(
                    f"'inference.benchmarks' names '{name}', but 'datasets.benchmarks' has no "
                    "such benchmark with a 'val' split"
                )
        for key in ("mask_threshold", "clip_weight", "replace_ratio", "ensemble"):
            table = getattr(self.inference, key)
            if not isinstance(table, dict):
                continue
            if missing := [n for n in self.inference.benchmarks if n not in table]:
                raise ValueError(f"'inference.{key}' has no value for '{missing[0]}'")
            if strangers := [n for n in table if n not in known]:
                raise ValueError(f"'inference.{key}' names the unknown benchmark '{strangers[0]}'")
        return self


Scalar = bool | int | float | str


class Ablation(Block):
    """A grid: every combination of the values of `vary`."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    """Names the grid in `grids`, in paths and in tables."""
    recipe: str | None
    """The recipe to start from; `null`: the one that runs."""
    vary: dict[str, Annotated[list[Scalar | list[Scalar]], Field(min_length=1)]]
    """Key path within the recipe -> values. Keys under `inference` cost no training."""
    fixed: dict[str, Scalar | list[Scalar] | None]
    """Key path -> value that all cells have in place of the recipe's, such as fewer steps."""
    benchmarks: list[str] | None
    """Benchmarks to evaluate; `null`: those of the recipe."""
    seeds: Annotated[list[Count], Field(min_length=1)]
    """Seeds to repeat every cell with."""


class Steps(Block):
    """Numbers from `low` to `high`, `step` apart."""

    low: float
    high: float
    step: PositiveFloat

    @model_validator(mode="after")
    def _consistent(self) -> "Steps":
        if self.low >= self.high:
            raise ValueError("'low' must be less than 'high'")
        return self


SearchedKey = Annotated[
    str,
    _source(
        "inference.mask_threshold",
        "inference.crop_threshold",
        "inference.clip_weight",
        "inference.replace_ratio",
        "inference.ensemble",
        prefixes=(),
    ),
]


class Search(Block):
    """A search of test-time settings on the benchmarks' `train` splits, by Optuna."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    """Names the search in paths."""
    recipe: str | None
    """The recipe whose model is tested; `null`: the one that runs."""
    vary: Annotated[
        dict[
            SearchedKey,
            Annotated[
                Annotated[list[float | str], Field(min_length=1), Tag("[value]")]
                | Annotated[Steps, Tag("[table]")],
                _TABLE_OR_VALUE,
            ],
        ],
        Field(min_length=1),
    ]
    """Key -> a list of values, or `{low, high, step}`: `inference.` `mask_threshold`,
    `crop_threshold`, `clip_weight`, `replace_ratio`, `ensemble`. What CLIP's crops depend on needs
    a list: every value costs a pass of CLIP over the images, a trial next to nothing."""
    benchmarks: list[str] | None
    """Benchmarks to test on; `null`: those of `inference.benchmarks` that have a `train` split."""
    images: PositiveInt | None
    """Images of each benchmark, the first ones; `null`: all."""
    metric: Literal["miou", "miou_d2_v06", "sg_iou", "miou_seen", "miou_unseen"]
    """Its mean over the benchmarks is what is searched for the largest of."""
    sampler: Literal["tpe", "random"]
    """`tpe` learns from the trials so far, `random` does not."""
    trials: PositiveInt
    """How many. A larger number continues the search."""
    seed: Count
    """Of the sampler."""


class Params(Block):
    """The whole file: recipe to run, grids, searches, and one block for each recipe."""

    recipe: str
    """The recipe to run; `snakemake --config recipe=...` overrides it."""
    ablations: list[Ablation]
    """The grids that a recipe's `grids`, or `snakemake ablations`, can ask for."""
    searches: list[Search]
    """The searches that `snakemake searches` makes."""
    recipes: Annotated[dict[str, Recipe], Field(min_length=1)]

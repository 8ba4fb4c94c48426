"""`datasets`: where raw data comes from and what it becomes."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from scan_core.params.schema.fields import (
    NULL_REMOVES,
    Block,
    Count,
    FilePath,
    Name,
    Split,
    Text,
    source,
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

    format: Literal[
        "coco_stuff", "ade20k_150", "ade20k_847", "pascal_voc", "pascal_context", "folder"
    ]
    """Raw layout to convert from; `folder`: `images/` and `labels/` of your own."""
    classes: str
    """Class list: a built-in name, or the path of a .json file."""
    images: dict[Split, Count | None]
    """Splits to convert, and how many images each must list (`null`: not checked)."""
    raw: FilePath | None = None
    """Folder of its raw data, which is only read; `null`: the recipe's."""
    split_names: dict[Split, Text] = Field(default_factory=dict)
    """What the raw data calls a split, where that is another name: `{val: test}`."""
    image_suffix: Text | None = None
    """For `folder`: what follows the name that an image shares with its label, such as
    `_leftImg8bit.png`; `null`: the suffix of any image."""
    label_suffix: Text = ".png"
    """For `folder`: likewise of a label, such as `_gtFine_labelIds.png`."""
    captions: FilePath | None = None
    """Captions of the `train` images, on whose nouns CLIP is fine-tuned: a JSON like COCO's, or
    `classes` for the names of each image's classes; `null`: those of COCO beside the raw data."""

    @model_validator(mode="after")
    def _consistent(self) -> "Benchmark":
        if strangers := self.split_names.keys() - self.images.keys():
            raise ValueError(f"'split_names' has '{min(strangers)}', 'images' has not")
        if self.format == "folder" and self.raw is None:
            raise ValueError("'format: folder' needs 'raw', the folder of images/ and labels/")
        return self


class Datasets(Block):
    """Where raw data comes from and what it becomes."""

    source: Annotated[str, source("generate", "download", prefixes=("local:",))]
    """`generate` the miniature world, `download` the archives, or `local:<path>` to use raw
    layouts that are already on disk (they are only read)."""
    root: FilePath
    """Folder for archives, raw data and converted benchmarks. Recipes may share it."""
    released_label_reduction: bool = False
    """`true`: label maps of `ade20k_847` are reduced by the release's nearest-neighbour rule,
    floor(x · s), instead of floor((x + ½) · s); `faithful: true` sets it."""
    miniworld: Miniworld | None = None
    """Size of the generated world; `null` unless `source` is `generate`."""
    train: Name
    """The benchmark whose `train` split the segmenter learns from."""
    benchmarks: Annotated[dict[Name, Benchmark], NULL_REMOVES, Field(min_length=1)]
    """The benchmarks, by a name of your choice (letters, digits, `_`, `-`)."""

    @model_validator(mode="after")
    def _consistent(self) -> "Datasets":
        if (self.source == "generate") != (self.miniworld is not None):
            raise ValueError("'miniworld' must be given with 'source: generate', null otherwise")
        if "train" not in getattr(self.benchmarks.get(self.train), "images", {}):
            raise ValueError(f"'train: {self.train}' names no benchmark with a 'train' split")
        training = self.benchmarks[self.train]
        if training.format != "coco_stuff" and training.captions is None:
            raise ValueError(
                f"'benchmarks.{self.train}.captions' must be given, as 'train' names it: CLIP is "
                "fine-tuned on nouns of captions. The path of a JSON like COCO's, or 'classes' to "
                "take the names of the classes in each image"
            )
        return self

"""`datasets`: where raw data comes from and what it becomes."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from scan_core.params.schema.fields import NULL_REMOVES, Block, Count, Name, Split, source


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

    source: Annotated[str, source("generate", "download", prefixes=("local:",))]
    """`generate` the miniature world, `download` the archives, or `local:<path>` to use raw
    layouts that are already on disk (they are only read)."""
    root: Annotated[str, Field(min_length=1)]
    """Folder for archives, raw data and converted benchmarks. Recipes may share it."""
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
        return self

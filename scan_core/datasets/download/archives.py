"""The public archives that the benchmarks are made from, and where they unpack to."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

_COCO_IMAGES = "each image under its own Creative Commons licence; Flickr terms of use"
_VOC_IMAGES = "Flickr terms of use"
_ADE20K = "non-commercial research and education only"


@dataclass(frozen=True)
class Archive:
    """A file that somebody publishes.

    Attributes:
        name: file name, unique; it may differ from the name at the address.
        urls: addresses to try in order. A mirror is named only where a checksum is published,
            since nothing else shows that it holds the same file.
        bytes: exact size, or None where it is not known.
        checksum: the published checksum as `md5:<hex>` or `sha1:<hex>`, or None.
        licence: what the publisher allows, in short.
        extract_to: folder to unpack in, relative to the raw root.
        approximate_gb: size in 10⁹ bytes, for planning only.
        how_to_obtain: what a person has to do, for an archive that needs a registration.
    """

    name: str
    urls: tuple[str, ...]
    bytes: int | None
    checksum: str | None
    licence: str
    extract_to: str
    approximate_gb: float
    how_to_obtain: str | None = None


def _coco(path: str) -> tuple[str, ...]:
    # Two addresses of one storage bucket; the certificate of the first lacks its host name.
    return (
        f"http://images.cocodataset.org/{path}",
        f"https://s3.amazonaws.com/images.cocodataset.org/{path}",
    )


def _voc(path: str) -> tuple[str, ...]:
    return (
        f"https://thor.robots.ox.ac.uk/pascal/VOC/{path}",
        f"http://host.robots.ox.ac.uk/pascal/VOC/{path}",
    )


_ALL = (
    Archive(
        name="train2017.zip",
        urls=_coco("zips/train2017.zip"),
        bytes=19_336_861_798,
        checksum="md5:cced6f7f71b7629ddf16f17bbcfab6b2",
        licence=_COCO_IMAGES,
        extract_to="coco",
        approximate_gb=19.3,
    ),
    Archive(
        name="val2017.zip",
        urls=_coco("zips/val2017.zip"),
        bytes=815_585_330,
        checksum="md5:442b8da7639aecaf257c1dceb8ba8c80",
        licence=_COCO_IMAGES,
        extract_to="coco",
        approximate_gb=0.8,
    ),
    Archive(
        name="annotations_trainval2017.zip",
        urls=_coco("annotations/annotations_trainval2017.zip"),
        bytes=252_907_541,
        checksum="md5:f4bbac642086de4f52a3fdda2de5fa2c",
        licence="CC BY 4.0",
        extract_to="coco",
        approximate_gb=0.25,
    ),
    Archive(
        name="stuffthingmaps_trainval2017.zip",
        urls=(
            "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/"
            "stuffthingmaps_trainval2017.zip",
        ),
        bytes=None,
        checksum=None,
        licence="CC BY 4.0",
        extract_to="coco/stuffthingmaps",
        approximate_gb=0.7,
    ),
    Archive(
        name="ADEChallengeData2016.zip",
        urls=("http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",),
        bytes=None,
        checksum="sha1:219e1696abb36c8ba3a3afe7fb2f4b4606a897c7",
        licence=_ADE20K,
        extract_to=".",
        approximate_gb=1.0,
    ),
    Archive(
        name="ADE20K_2021_17_01.zip",
        urls=(),
        bytes=None,
        checksum=None,
        licence=_ADE20K,
        extract_to=".",
        approximate_gb=5,
        how_to_obtain="It is given out to registered users only: ask for it at "
        "https://ade20k.csail.mit.edu/request_data/ (free of charge).",
    ),
    Archive(
        name="VOCtrainval_11-May-2012.tar",
        urls=_voc("voc2012/VOCtrainval_11-May-2012.tar"),
        bytes=1_999_639_040,
        checksum="md5:6cd6e144f989b92b3379bac3b3de84fd",
        licence=_VOC_IMAGES,
        extract_to=".",
        approximate_gb=2.0,
    ),
    Archive(
        name="SegmentationClassAug.zip",
        urls=("https://www.dropbox.com/s/oeu149j8qtbs1x0/SegmentationClassAug.zip?dl=1",),
        bytes=None,
        checksum=None,
        licence="not stated",
        extract_to="VOCdevkit/VOC2012",
        approximate_gb=0.03,
    ),
    Archive(
        name="VOCtrainval_03-May-2010.tar",
        urls=_voc("voc2010/VOCtrainval_03-May-2010.tar"),
        bytes=None,
        checksum="md5:da459979d0c395079b5c75ee67908abb",
        licence=_VOC_IMAGES,
        extract_to=".",
        approximate_gb=1.4,
    ),
    Archive(
        name="pascal_context_trainval.tar.gz",
        urls=("https://roozbehm.info/pascal-context/trainval.tar.gz",),
        bytes=None,
        checksum=None,
        licence="not stated",
        extract_to="VOCdevkit/VOC2010",
        approximate_gb=0.03,
    ),
    Archive(
        name="swin_base_patch4_window12_384_22k.pth",
        urls=(
            "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/"
            "swin_base_patch4_window12_384_22k.pth",
        ),
        bytes=None,
        checksum=None,
        licence="MIT",
        extract_to="",
        approximate_gb=0.45,
    ),
)

ARCHIVES: dict[str, Archive] = {archive.name: archive for archive in _ALL}

# ImageNet weights of backbones: `segmenter.backbone.weights: download:<name>` -> the file.
BACKBONE_ARCHIVES: dict[str, str] = {
    "swin_base_patch4_window12_384_22k": "swin_base_patch4_window12_384_22k.pth",
}

# Archives that only one split is read from; the captions are those of the images to train on.
_SPLIT_ARCHIVES = {"train2017.zip": "train", "annotations_trainval2017.zip": "train"}

FORMAT_ARCHIVES: dict[str, tuple[str, ...]] = {
    "coco_stuff": (
        "train2017.zip",
        "val2017.zip",
        "annotations_trainval2017.zip",
        "stuffthingmaps_trainval2017.zip",
    ),
    "ade20k_150": ("ADEChallengeData2016.zip",),
    "ade20k_847": ("ADE20K_2021_17_01.zip",),
    "pascal_voc": ("VOCtrainval_11-May-2012.tar", "SegmentationClassAug.zip"),
    "pascal_context": ("VOCtrainval_03-May-2010.tar", "pascal_context_trainval.tar.gz"),
}


def archives_of(splits: Mapping[str, Collection[str]]) -> list[str]:
    """The archives that splits are read from.

    Args:
        splits: format -> `train`, `val`, or both.
    """
    return [
        archive
        for name, read in splits.items()
        for archive in FORMAT_ARCHIVES[name]
        if archive not in _SPLIT_ARCHIVES or _SPLIT_ARCHIVES[archive] in read
    ]

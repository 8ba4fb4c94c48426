"""What exists in the miniature world, and by which names each thing may be called."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from scan_core.vocabulary.classes import ClassList

STUFF = (
    "sky", "cloud", "sea", "pool", "sand", "grass", "snow", "road", "brick wall", "stone wall",
    "wood floor", "tile floor", "carpet", "rug", "hedge", "bush", "soil", "mountain", "curtain",
    "wallpaper",
)  # fmt: skip
# Look-alikes among things: drawn by one shape, named by their surroundings.
LANDMARKS = ("sun", "lamp", "tent", "igloo")
SHAPES = (
    "ball", "boat", "car", "house", "star", "fish", "cup", "kite", "flower", "box", "ring", "heart",
    "mushroom",
)  # fmt: skip
COLORS = {
    "red": (214, 40, 40),
    "orange": (245, 130, 32),
    "yellow": (250, 205, 40),
    "green": (40, 150, 70),
    "blue": (45, 90, 205),
    "purple": (130, 60, 170),
    "pink": (245, 130, 180),
    "white": (240, 240, 240),
}
PATTERNS = ("plain", "striped", "dotted")

# `rug` and `carpet`, `bush` and `hedge` are two words for the same thing: which of them a picture
# is labelled with is chance, as among human annotators. SG-IoU forgives confusing them.

# Other names, tried after a concept's own: what it is a kind of, or what it is also called.
_BROADER = {
    **dict.fromkeys(("sea", "pool"), ("water",)),
    **dict.fromkeys(("brick wall", "stone wall", "wallpaper"), ("wall",)),
    **dict.fromkeys(("wood floor", "tile floor", "carpet"), ("floor",)),
    **dict.fromkeys(("soil", "sand", "grass", "snow", "road"), ("ground",)),
    "rug": ("carpet", "floor"),
    "bush": ("hedge",),
}


@dataclass(frozen=True)
class Concept:
    """One kind of thing or stuff.

    Attributes:
        names: what it may be called, the most specific first.
        kind: of stuff and landmarks the name, of a thing shape, colour and pattern.
    """

    names: tuple[str, ...]
    kind: tuple[str, ...]


def _thing(shape: str, color: str, pattern: str) -> Concept:
    names: tuple[str, ...] = (f"{color} {shape}", shape)
    if pattern != "plain":
        names = (f"{color} {pattern} {shape}", f"{pattern} {shape}", *names)
    return Concept(names, (shape, color, pattern))


CONCEPTS: tuple[Concept, ...] = (
    *(Concept((name, *_BROADER.get(name, ())), (name,)) for name in (*STUFF, *LANDMARKS)),
    *(_thing(*kind) for kind in product(SHAPES, COLORS, PATTERNS)),
)
_IDS = {concept.kind: number for number, concept in enumerate(CONCEPTS)}


def concept_id(*kind: str) -> int:
    """Number of the concept of a kind."""
    return _IDS[kind]


def raw_table(classes: ClassList, other: int) -> NDArray[np.uint16]:
    """Raw label value of every concept in a vocabulary.

    A concept belongs to the most specific of its names that the vocabulary has.

    Args:
        classes: the vocabulary.
        other: raw value of a concept that it has no name for.

    Returns:
        (number of concepts,) uint16.
    """
    raw = dict(zip(classes.names, classes.raw_ids, strict=True))
    values = [
        next((raw[name] for name in concept.names if name in raw), other) for concept in CONCEPTS
    ]
    return np.array(values, dtype=np.uint16)

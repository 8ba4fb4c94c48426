"""Captions in plain English, and captioned pictures from which a small CLIP learns to read."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from scan_core.datasets.miniworld import scenes
from scan_core.datasets.miniworld.concepts import CONCEPTS, LANDMARKS, PATTERNS, STUFF, concept_id
from scan_core.datasets.miniworld.cutouts import cutout
from scan_core.datasets.miniworld.textures import crop

_PLURAL_OR_MASS = {"sand", "grass", "snow", "soil", "wallpaper"}
_TEMPLATES = (
    "A picture of {things} with {stuff} in the background.",
    "{Things} in front of {stuff}.",
    "There is {things} near {stuff}.",
    "We see {stuff} and {things}.",
    "{Stuff} behind {things}.",
)
# Pictures of one landmark, of one thing, of some stuff; the rest are whole scenes.
_SHARE_OF_LANDMARKS, _SHARE_OF_SHOTS, _SHARE_OF_STUFF = 0.06, 0.65, 0.16
_KINDS = scenes.thing_kinds(seen_only=False)
_CUTOUTS_PER_SCENE, _SCENE_OF_CUTOUTS = 2, 128

CaptionedPicture = tuple[NDArray[np.uint8], list[str]]


def scene_captions(rng: np.random.Generator, scene: scenes.Scene) -> list[str]:
    """Five captions of a scene, each of another form, that name its things and some stuff."""
    things = [CONCEPTS[i].names[int(rng.integers(len(CONCEPTS[i].names)))] for i in scene.things]
    things = list(dict.fromkeys(things))
    stuff = [CONCEPTS[i].names[0] for i in np.unique(scene.concepts) if i < len(STUFF)]
    rng.shuffle(stuff)
    return [
        template.format(
            things=(spoken := _listed(things or stuff[:1])),
            stuff=(around := _listed(stuff[:2])),
            Things=spoken.capitalize(),
            Stuff=around.capitalize(),
        )
        for template in _TEMPLATES
    ]


def captioned_images(
    seed: int, number: int, size: int, workers: int = 1
) -> Iterator[CaptionedPicture]:
    """Pictures with names or captions, from the whole language of the world, unseen words too.

    Args:
        seed: of the stream; any prefix of it is the same whatever `number`.
        number: of pictures.
        size: side, pixels.
        workers: processes that draw; the result does not depend on it.

    Yields:
        (size, size, 3) uint8, and what it may be called, the most general name first.
    """
    yield from _drawn(partial(_captioned_image, seed, size), number, workers)


def captioned_cutouts(
    seed: int, number: int, size: int, workers: int = 1
) -> Iterator[CaptionedPicture]:
    """Segments of scenes under imperfect masks, with names; see `captioned_images`."""
    yield from _drawn(partial(_captioned_cutout, seed, size), number, workers)


def _drawn(
    draw: Callable[[int], CaptionedPicture], number: int, workers: int
) -> Iterator[CaptionedPicture]:
    if workers == 1:
        yield from map(draw, range(number))
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(draw, range(number), chunksize=64)


def _captioned_cutout(seed: int, size: int, index: int) -> CaptionedPicture:
    scene = _scene_of_cutouts(seed, index // _CUTOUTS_PER_SCENE)
    picture, number = cutout(np.random.default_rng([seed, 5, index]), scene, size)
    return picture, _names(number)


@lru_cache(maxsize=1)
def _scene_of_cutouts(seed: int, number: int) -> scenes.Scene:
    return scenes.draw_scene((seed, 6), number, _SCENE_OF_CUTOUTS)


def _names(number: int) -> list[str]:
    """The names of stuff or of a landmark; of a thing noun, noun with its colour, and full name."""
    concept = CONCEPTS[number]
    if len(concept.kind) == 1:
        return list(reversed(concept.names))
    shape, color, _ = concept.kind
    return [shape, f"{color} {shape}", concept.names[0]]


def _captioned_image(seed: int, size: int, index: int) -> CaptionedPicture:
    rng = np.random.default_rng([seed, 3, index])
    draw = rng.random()
    if draw < _SHARE_OF_LANDMARKS:
        name = LANDMARKS[rng.integers(len(LANDMARKS))]
        return scenes.draw_landmark_shot(rng, name, size), [name]
    if draw < _SHARE_OF_SHOTS:
        kind = (*_KINDS[rng.integers(len(_KINDS))], PATTERNS[rng.integers(len(PATTERNS))])
        return scenes.draw_shot(rng, kind, size), _names(concept_id(*kind))
    if draw < _SHARE_OF_SHOTS + _SHARE_OF_STUFF:
        concept = int(rng.integers(len(STUFF)))
        side = int(rng.integers(size, 2 * size))
        piece = crop(STUFF[concept], side, side, rng)
        picked = piece[:: max(1, side // size), :: max(1, side // size)][:size, :size]
        return scenes.swatch(rng, picked), _names(concept)
    scene = scenes.draw_scene((seed, 4), index, 2 * size)
    return scenes.reduced(scene, size), scene_captions(rng, scene)


def _listed(names: Sequence[str]) -> str:
    spoken = [_with_article(name) for name in names]
    return spoken[0] if len(spoken) == 1 else f"{', '.join(spoken[:-1])} and {spoken[-1]}"


def _with_article(name: str) -> str:
    if name in _PLURAL_OR_MASS:
        return name
    if name in ("sky", "sea", "sun", "ground"):
        return f"the {name}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"

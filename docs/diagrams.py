"""The diagrams of the documentation, drawn as SVG: boxes on a grid, and arrows between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 162, 64  # of a box, pixels
_STEP_X, _STEP_Y = 196, 98  # from box to box
_MARGIN = 16

# What a box is -> its fill and its border.
KINDS = {
    "data": ("#ffffff", "#8a94a6"),
    "trained": ("#d7f3ee", "#12a594"),
    "frozen": ("#e1e8f5", "#5b7bb4"),
    "tuned": ("#fde8d0", "#d98324"),
}


@dataclass(frozen=True)
class Box:
    """A box.

    Attributes:
        column: place on the grid, from 0.
        row: likewise; both may be fractions.
        kind: one of `KINDS`.
        text: lines, of which the first is bold.
    """

    column: float
    row: float
    kind: str
    text: tuple[str, ...]

    @property
    def left(self) -> float:
        """Pixels."""
        return _MARGIN + self.column * _STEP_X

    @property
    def top(self) -> float:
        """Pixels."""
        return _MARGIN + self.row * _STEP_Y

    def side(self, name: str, shift: float = 0) -> tuple[float, float]:
        """The middle of a side (`l`, `r`, `t`, `b`), moved along it by some pixels."""
        x, y = self.left + _WIDTH / 2 + shift, self.top + _HEIGHT / 2 + shift
        ends = {"l": (self.left, y), "r": (self.left + _WIDTH, y)}
        return {**ends, "t": (x, self.top), "b": (x, self.top + _HEIGHT)}[name]


@dataclass(frozen=True)
class Arrow:
    """An arrow.

    Attributes:
        points: where it turns, pixels.
        label: words beside its first piece.
    """

    points: tuple[tuple[float, float], ...]
    label: str = ""


def draw(
    title: str, boxes: Sequence[Box], arrows: Sequence[Arrow], legend: Sequence[tuple[str, str]]
) -> str:
    """An SVG.

    Args:
        title: for those who cannot see it.
        boxes: of the diagram.
        arrows: between them.
        legend: kind -> what it means.
    """
    width = max(box.left for box in boxes) + _WIDTH + _MARGIN
    bottom = max(box.top for box in boxes) + _HEIGHT + _MARGIN
    height = bottom + (30 if legend else 0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'font-family="system-ui, Segoe UI, Roboto, Arial, sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#4a5568"/></marker></defs>',
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#fbfcfd"/>',
        *map(_arrow, arrows),
        *map(_box, boxes),
        *_legend(legend, bottom),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _box(box: Box) -> str:
    fill, border = KINDS[box.kind]
    x, y = box.left + _WIDTH / 2, box.top + _HEIGHT / 2 - 8.5 * (len(box.text) - 1)
    styles = ['font-weight="600"', *['font-size="12" fill="#3d4657"'] * (len(box.text) - 1)]
    lines = "".join(
        f'<text x="{x:g}" y="{y + 17 * n:g}" dominant-baseline="central" text-anchor="middle" '
        f"{style}>{escape(line)}</text>"
        for n, (line, style) in enumerate(zip(box.text, styles, strict=True))
    )
    return (
        f'<rect x="{box.left:g}" y="{box.top:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="9" '
        f'fill="{fill}" stroke="{border}" stroke-width="1.5"/>{lines}'
    )


def _arrow(arrow: Arrow) -> str:
    path = " ".join(f"{x:g},{y:g}" for x, y in arrow.points)
    line = (
        f'<polyline points="{path}" fill="none" stroke="#4a5568" stroke-width="1.5" '
        'marker-end="url(#tip)"/>'
    )
    if not arrow.label:
        return line
    (x0, y0), (x1, y1) = arrow.points[:2]
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    place = (x + 6, y, "start") if x0 == x1 else (x, y - 9, "middle")
    return (
        f'{line}<text x="{place[0]:g}" y="{place[1]:g}" dominant-baseline="central" '
        f'font-size="11.5" fill="#4a5568" text-anchor="{place[2]}">{escape(arrow.label)}</text>'
    )


def _legend(legend: Sequence[tuple[str, str]], top: float) -> list[str]:
    parts, x = [], float(_MARGIN)
    for kind, text in legend:
        fill, border = KINDS[kind]
        parts.append(
            f'<rect x="{x:g}" y="{top:g}" width="16" height="16" rx="4" fill="{fill}" '
            f'stroke="{border}"/><text x="{x + 23:g}" y="{top + 8:g}" dominant-baseline="central" '
            f'font-size="12">{escape(text)}</text>'
        )
        x += 23 + 6.6 * len(text) + 26
    return parts


def method() -> str:
    """How an image and words become a segmentation."""
    image = Box(0, 1, "data", ("image",))
    frozen = Box(1, 0, "frozen", ("CLIP, frozen", "patch tokens, [CLS]"))
    segmenter = Box(1, 1, "trained", ("segmenter", "Swin, pixel decoder,", "mask decoder"))
    integration = Box(2, 0, "trained", ("semantic integration", "CLIP's tokens", "in embeddings"))
    masks = Box(2, 1, "data", ("100 proposals", "masks and embeddings"))
    crops = Box(2, 2, "data", ("masked crops", "one for each mask"))
    tuned = Box(3, 2, "tuned", ("CLIP, fine-tuned", "contextual shift:", "the image's [CLS] in it"))
    words = Box(0, 3, "data", ("class names", "any words"))
    text = Box(2, 3, "frozen", ("CLIP's text tower", "prompt templates"))
    inside = Box(4, 0, "data", ("in-vocabulary", "scores p"))
    outside = Box(4, 2, "data", ("CLIP's scores c",))
    both = Box(4, 1, "data", ("combined scores", "p^(1 − w) · c^w"))
    result = Box(5, 1, "data", ("class map", "masks × scores,", "best class per pixel"))
    bus = outside.left - 18
    turn = image.side("r")[0] + 14
    boxes = [image, frozen, segmenter, integration, masks, crops, tuned]
    boxes += [words, text, inside, outside, both, result]
    up = text.side("r")[1]
    arrows = [
        Arrow((image.side("r"), segmenter.side("l"))),
        Arrow(((turn, image.side("r")[1]), (turn, frozen.side("l")[1]), frozen.side("l"))),
        Arrow(((turn, image.side("r")[1]), (turn, crops.side("l")[1]), crops.side("l"))),
        Arrow((frozen.side("r"), integration.side("l"))),
        Arrow((segmenter.side("r"), masks.side("l"))),
        Arrow((masks.side("t"), integration.side("b")), "embeddings"),
        Arrow((masks.side("b"), crops.side("t")), "masks"),
        Arrow((masks.side("r"), both.side("l")), "masks"),
        Arrow((crops.side("r"), tuned.side("l"))),
        Arrow((integration.side("r", -9), inside.side("l", -9))),
        Arrow((tuned.side("r", -9), outside.side("l", -9))),
        Arrow((words.side("r"), text.side("l"))),
        Arrow((text.side("r"), (bus, up), (bus, inside.side("l", 12)[1]), inside.side("l", 12))),
        Arrow(((bus, up), (bus, outside.side("l", 12)[1]), outside.side("l", 12))),
        Arrow((inside.side("b"), both.side("t"))),
        Arrow((outside.side("t"), both.side("b"))),
        Arrow((both.side("r"), result.side("l"))),
    ]
    legend = [
        ("trained", "trained on COCO-Stuff masks"),
        ("frozen", "frozen, as published"),
        ("tuned", "fine-tuned on mask–noun pairs"),
    ]
    return draw("From image and class names to a class map", boxes, arrows, legend)


def pipeline() -> str:
    """The stages of the workflow."""
    raw = Box(0, 0, "data", ("raw data", "six layouts"))
    benchmarks = Box(1, 0, "data", ("benchmarks", "images, labels, index"))
    captions = Box(0, 2, "data", ("captions",))
    clip = Box(1, 1, "frozen", ("CLIP", "fetched or trained"))
    segmenter = Box(2, 0, "trained", ("segmenter", "CLIP frozen"))
    pairs = Box(2, 2, "data", ("mask–noun pairs", "mined with both"))
    tuned = Box(3, 1, "tuned", ("CLIP, fine-tuned", "on masked crops"))
    model = Box(4, 0, "trained", ("fused model", "one file"))
    evaluation = Box(4, 1, "data", ("evaluation", "every benchmark, grids"))
    report = Box(4, 2, "data", ("report", "tables, figures"))
    boxes = [raw, benchmarks, captions, clip, segmenter, pairs, tuned, model, evaluation, report]
    arrows = [
        Arrow((raw.side("r"), benchmarks.side("l"))),
        Arrow((benchmarks.side("r"), segmenter.side("l"))),
        Arrow((captions.side("r"), pairs.side("l"))),
        Arrow((captions.side("t"), (captions.side("t")[0], clip.side("l")[1]), clip.side("l"))),
        Arrow((clip.side("r", -10), (segmenter.side("b")[0] - 20, clip.side("r", -10)[1]),
               (segmenter.side("b")[0] - 20, segmenter.side("b")[1]))),
        Arrow((segmenter.side("b", 12), pairs.side("t", 12))),
        Arrow((clip.side("r", 10), tuned.side("l", 10))),
        Arrow((pairs.side("r"), (tuned.side("b")[0], pairs.side("r")[1]), tuned.side("b"))),
        Arrow((segmenter.side("r"), model.side("l"))),
        Arrow((tuned.side("t"), (tuned.side("t")[0], model.side("l", 14)[1]), model.side("l", 14))),
        Arrow((model.side("b"), evaluation.side("t"))),
        Arrow((evaluation.side("b"), report.side("t"))),
    ]  # fmt: skip
    return draw("From raw data to the report", boxes, arrows, [])


DIAGRAMS = {"method": method, "pipeline": pipeline}

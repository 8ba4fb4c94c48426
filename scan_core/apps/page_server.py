"""The server of the page, which keeps no files.

It has three addresses: the page, what it needs at its start, and `segment`. An image comes with the
request that asks about it. What the networks computed for it stays in memory for a while, under a
key that only the sender is told.
"""

import asyncio
import base64
import logging
import secrets
import socket
import time
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import uvicorn
from numpy.typing import NDArray
from PIL import Image
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from torch import Tensor

from scan_core.apps.class_names import ClassNames, class_names
from scan_core.apps.model import ScoredMap, classify
from scan_core.apps.segment import label_picture
from scan_core.datasets.miniworld.concepts import CONCEPTS
from scan_core.datasets.miniworld.scenes import draw_scene
from scan_core.errors import InputError
from scan_core.evaluation.predictions import coco_results
from scan_core.inference.image_features import ImageViews
from scan_core.inference.scan import Scan, Segmentation
from scan_core.reporting.draw import class_colors
from scan_core.storage.images import read_image

_log = logging.getLogger(__name__)

LONGEST_SIDE = 1024  # of an image on the page, pixels: larger ones are made smaller
MOST_BYTES = 40_000_000  # of an image file
MOST_PIXELS = 50_000_000
MOST_WORDS, MOST_LETTERS = 300, 10_000
WORD_SECONDS = 120.0  # for encoding the words; those that are done count for the next request
MOST_PROPOSALS = 24
# What browsers show. Other decoders, which few people need here, are not open to visitors.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")
_EXAMPLES = 6
_EXAMPLE_STREAM = (2024, 6)  # of no data set
_WORDS_AT_ONCE = 16
UPLOAD_SECONDS = 60.0
BYTES_AT_ONCE = 500_000_000  # of all requests that are received or answered
MOST_WAITING = 20  # requests; the next is told to come again
MOST_REMEMBERED = 32  # images whose features are kept; each takes some 10 MB
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


_Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Question(BaseModel):
    """What a browser asks: about an image that it sends, or about one that it has sent before."""

    model_config = ConfigDict(strict=True, extra="forbid")

    names: Annotated[str, Field(max_length=MOST_LETTERS)]
    background: Annotated[str, Field(max_length=MOST_LETTERS)] = ""
    clip_weight: _Fraction
    mask_threshold: _Fraction
    minimum_score: _Fraction = 0.0
    proposals: bool = False
    image: Base64Bytes | None = None
    key: str | None = None


@dataclass(frozen=True)
class Features:
    """An image, (H, W, 3) uint8, and what the networks computed for it.

    This depends on neither names nor clip weight nor mask threshold.
    """

    image: NDArray[np.uint8]
    views: ImageViews


class Viewer:
    """Segments images for the page.

    Crops are formed at one threshold, the model's own, so that the mask threshold, which says what
    CLIP is shown, can move without making new ones.
    """

    def __init__(self, scan: Scan) -> None:
        self.scan, self.settings = scan, scan.settings

    def look(self, content: bytes) -> Features:
        """Run the networks on an image file.

        Raises:
            InputError: no image, damaged, or above one of the limits.
        """
        if len(content) > MOST_BYTES:
            raise InputError(f"the image has more than {MOST_BYTES / 1e6:.0f} MB; make it smaller")
        array = read_image(content, MOST_PIXELS, FORMATS)
        longest = max(array.shape[:2])
        if longest > LONGEST_SIDE:
            height, width = (max(1, round(s * LONGEST_SIDE / longest)) for s in array.shape[:2])
            smaller = Image.fromarray(array).resize((width, height), Image.Resampling.LANCZOS)
            array = np.asarray(smaller)
        start = time.monotonic()
        # The weight may be raised later, so CLIP is asked whatever it is now.
        (views,) = self.scan.encode([array], [self.settings.overridden(clip_weight=1.0)])
        _log.info("looked at %d x %d pixels: %.1f s", *array.shape[:2], time.monotonic() - start)
        return Features(array, views)

    def answer(
        self, features: Features, asked: Question, classes: ClassNames
    ) -> tuple[ScoredMap, list[dict[str, Any]]]:
        """Combine what the networks computed with words and settings.

        Returns:
            the map of the classes, and, where they are asked for, the proposals with the highest
            scores: class, score and mask as run lengths.

        Raises:
            InputError: names that CLIP cannot read, or that take too long.
        """
        size = (features.image.shape[0], features.image.shape[1])
        settings = replace(
            self.settings,
            clip_weight=asked.clip_weight,
            mask_threshold=max(asked.mask_threshold, self.settings.crop_threshold),
        )
        text, views = self._embed(classes.words), features.views
        found = classify(self.scan, views, text, classes, settings, size, asked.minimum_score)
        if not asked.proposals:
            return found, []
        scores = self.scan.score(views, text, settings, classes.owners)
        masks = Segmentation(classes.names, found.class_map, scores, views).masks()
        proposals = [
            {"id": one.class_id, "score": one.score, "mask": _run_lengths(one.mask)}
            for one in islice(masks, MOST_PROPOSALS)
        ]
        return found, proposals

    def _embed(self, words: tuple[str, ...]) -> Tensor:
        """The words' features; those of earlier requests are remembered by the model."""
        end = time.monotonic() + WORD_SECONDS
        for first in range(0, len(words), _WORDS_AT_ONCE):
            if time.monotonic() > end:
                raise InputError(
                    f"the names take longer than {WORD_SECONDS:.0f} s; give fewer at once"
                )
            self.scan.embed(words[first : first + _WORDS_AT_ONCE])
        return self.scan.embed(words)


class Server:
    """Answers browsers: one computation at a time, within limits.

    Args:
        viewer: does the work.
    """

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self._remembered: OrderedDict[str, Features] = OrderedDict()
        self._turn = asyncio.Lock()
        self._waiting = self._bytes = 0
        settings, header = viewer.settings, viewer.scan.header
        self._start = {
            "only_drawings": viewer.scan.warning,
            "model": header.get("recipe", Path(header["checkpoint"]["path"]).name),
            "clip_weight": settings.clip_weight,
            "mask_threshold": settings.mask_threshold,
            "crop_threshold": settings.crop_threshold,
            "most_bytes": MOST_BYTES,
            "examples": examples(),
        }
        self._html = Path(__file__).with_name("page.html").read_text(encoding="utf-8")

    async def page(self, request: Request) -> Response:
        """The page, whose own script alone may run."""
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        )
        return HTMLResponse(
            self._html.replace("NONCE", nonce),
            headers={**_HEADERS, "Content-Security-Policy": policy},
        )

    async def start(self, request: Request) -> Response:
        """What the page shows before the first image."""
        return _json(self._start)

    async def segment(self, request: Request) -> Response:
        """Answer a `Question`."""
        # Other sites' pages can send no JSON here without asking first, which is not answered.
        if request.headers.get("content-type") != "application/json":
            raise HTTPException(415, "expected application/json")
        content = bytearray()
        try:
            await self._receive(request, content)
            try:
                asked = Question.model_validate_json(bytes(content))
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                where = ".".join(map(str, first["loc"])) or "request"
                raise HTTPException(422, f"{where}: {first['msg']}") from None
            if self._waiting >= MOST_WAITING:
                raise HTTPException(503, "many visitors are waiting; try again in a minute")
            self._waiting += 1
            try:
                async with self._turn:
                    if await request.is_disconnected():
                        return _json({})
                    return _json(await asyncio.to_thread(self._answer, asked))
            finally:
                self._waiting -= 1
        finally:
            self._bytes -= len(content)

    async def _receive(self, request: Request, content: bytearray) -> None:
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                async for part in request.stream():
                    content += part
                    self._bytes += len(part)
                    if len(content) > 1.4 * MOST_BYTES:  # in base64
                        most = f"{MOST_BYTES / 1e6:.0f} MB"
                        raise HTTPException(413, f"more than {most}; make the image smaller")
                    if self._bytes > BYTES_AT_ONCE:
                        raise HTTPException(503, "many upload at once; try again in a minute")
        except TimeoutError:
            raise HTTPException(408, "the upload took too long") from None

    def _answer(self, asked: Question) -> dict[str, Any]:
        classes = classes_of(asked)
        answer: dict[str, Any] = {"key": asked.key}
        if asked.image is not None:
            features = self.viewer.look(asked.image)
            answer["key"] = secrets.token_urlsafe(24)
            answer["image"] = _data_url(Image.fromarray(features.image), "JPEG", quality=92)
            self._remembered[answer["key"]] = features
            if len(self._remembered) > MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        elif asked.key is None:
            raise InputError("choose an image first: upload one, or use one of the examples")
        elif asked.key not in self._remembered:
            return {"forgotten": True}
        else:
            features = self._remembered[asked.key]
            self._remembered.move_to_end(asked.key)
        found, proposals = self.viewer.answer(features, asked, classes)
        scores, names = found.scores(), classes.names
        pixels = np.bincount(found.class_map.reshape(-1), minlength=len(names)).tolist()
        colors = class_colors(len(names), classes.background_id).tolist()
        foreign = ", ".join(classes.not_english[:5])
        note = f"CLIP was trained on English captions; its results for {foreign} are guesses."
        return answer | {
            "height": found.class_map.shape[0],
            "width": found.class_map.shape[1],
            "classes": [
                {"name": name, "color": colors[i], "pixels": pixels[i], "score": scores.get(i)}
                for i, name in enumerate(names)
            ],
            "map": _run_lengths(found.class_map),
            "labels": _data_url(label_picture(found.class_map, classes), "PNG"),
            "segments": coco_results("image", found.class_map, names, scores),
            "proposals": proposals,
            "notes": [note] if foreign else [],
        }


def serve(viewer: Viewer, host: str, port: int, host_names: Collection[str] = ()) -> None:
    """Serve the page until interrupted; see `scan_core.apps.page`."""
    names = {"localhost", host, *host_names}
    if host in ("0.0.0.0", "::"):
        names |= {socket.gethostname(), socket.getfqdn(), "127.0.0.1"}
    logging.info("open http://%s:%d, end with Ctrl-C", host, port)
    uvicorn.run(
        application(viewer, names),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )


def application(viewer: Viewer, host_names: Collection[str]) -> Starlette:
    """The server's addresses.

    Args:
        viewer: does the work.
        host_names: by which browsers reach them. A page elsewhere can make its own name point to
            this machine, and would then read the answers as its own.
    """
    server = Server(viewer)
    return Starlette(
        routes=[
            Route("/", server.page),
            Route("/start", server.start),
            Route("/segment", server.segment, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[*host_names])],
        exception_handlers={
            **dict.fromkeys((HTTPException, InputError, ClientDisconnect), _refused),
            Exception: _failed,
        },
    )


def classes_of(asked: Question) -> ClassNames:
    """The classes that a visitor asks for.

    Raises:
        InputError: names that are none, or too many.
    """
    # `@FILE` is for command lines: a visitor of the page must not read the server's files.
    if any(text.strip().startswith("@") for text in (asked.names, asked.background)):
        raise InputError("type the class names, with commas between them")
    wanted = bool(asked.background.strip()) or asked.minimum_score > 0
    classes = class_names(asked.names, asked.background if wanted else None)
    if len(classes.words) > MOST_WORDS:
        raise InputError(
            f"{len(classes.words)} names: the page takes at most {MOST_WORDS} at once; give fewer"
        )
    return classes


def examples() -> list[dict[str, str]]:
    """Scenes of the miniature world that no data set holds, each with the words for it."""
    found = []
    for number in range(_EXAMPLES):
        scene = draw_scene(_EXAMPLE_STREAM, number, 128)
        names = dict.fromkeys(CONCEPTS[i].kind[0] for i in np.unique(scene.concepts))
        picture = _data_url(Image.fromarray(scene.pixels), "PNG")
        found.append({"image": picture, "names": ", ".join(names)})
    return found


def _run_lengths(values: NDArray[Any]) -> dict[str, list[int]]:
    """Values in raster order, and how often each is repeated."""
    flat = values.reshape(-1).astype(np.int64)
    starts = np.flatnonzero(np.diff(flat, prepend=-1))
    lengths = np.diff(starts, append=flat.size)
    return {"values": flat[starts].tolist(), "lengths": lengths.tolist()}


def _data_url(picture: Image.Image, kind: str, **options: Any) -> str:
    file = BytesIO()
    picture.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def _json(value: Any, status: int = 200) -> JSONResponse:
    return JSONResponse(value, status, _HEADERS)


def _refused(request: Request, error: Exception) -> Response:
    status = 422 if isinstance(error, InputError) else getattr(error, "status_code", 400)
    return _json({"error": str(getattr(error, "detail", error))}, status)


def _failed(request: Request, error: Exception) -> Response:
    """Of a defect of ours only that it is one is told; its traceback is logged."""
    return _json({"error": "something went wrong; the server's log says what"}, 500)

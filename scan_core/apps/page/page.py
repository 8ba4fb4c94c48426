"""The page: an image, words, sliders, and what comes of them. It asks nothing of other servers."""

import html
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Before the import, which would report it.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
from PIL import Image
from starlette.middleware import Middleware

from scan_core.apps.page.gate import Gate
from scan_core.apps.page.uploads import MOST_BYTES, Uploads
from scan_core.apps.page.viewer import Answer, Row, Seen, Viewer, example_images
from scan_core.errors import InputError

TITLE = "SCAN: segment anything you can name"
NAMES = "sky, sea, sand, grass, hedge, brick wall, wood floor, carpet, ball, car, star, house, fish"
STATE_SECONDS = 3600  # what was seen of an image is forgotten after an hour
_MOST_ROWS = 40
_MOST_WAITING = 20  # requests; the next is told to come again
_MOST_SESSIONS = 32  # whose last image is remembered; each takes some 10 MB

_log = logging.getLogger(__name__)

CSS = """
.scan-title h1 {margin: 0 0 .1em; font-size: 1.7em}
.scan-title p {margin: 0; color: var(--body-text-color-subdued)}
.prose .scan-table {width: 100%; border: 0 !important; border-collapse: collapse; font-size: .95em}
.prose .scan-table :is(thead, tbody, tr) {border: 0 !important}
.prose .scan-table :is(th, td) {border-width: 0 0 1px !important}
.scan-table th {text-align: left; font-weight: 600; padding: .2em .6em;
  color: var(--body-text-color-subdued); border-bottom: 1px solid var(--border-color-primary)}
.scan-table td {padding: .25em .6em; border-bottom: 1px solid var(--border-color-primary)}
.scan-table td.number {text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums}
.scan-table tr.absent {opacity: .5}
.scan-chip {display: inline-block; width: .95em; height: .95em; border-radius: .25em;
  margin-right: .55em; vertical-align: -.1em; border: 1px solid rgba(0, 0, 0, .45)}
.scan-bar {height: .55em; border-radius: .3em; min-width: 2px}
.scan-note {color: var(--body-text-color-subdued); font-size: .9em}
"""


def theme() -> gr.themes.Base:
    """Colours, and the fonts that a computer has."""
    return gr.themes.Soft(
        primary_hue="teal",
        neutral_hue="slate",
        font=["system-ui", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    ).set(
        block_title_background_fill="none",
        block_title_padding="0",
        block_title_text_color="*body_text_color",
        block_label_text_color="*body_text_color",
        block_label_background_fill="*background_fill_primary",
    )


def serve(viewer: Viewer, about: str, host: str, port: int) -> None:
    """Show the page until interrupted.

    Args:
        viewer: does the work.
        about: a line that says which model it is.
        host: address to listen at.
        port: likewise.
    """
    uploads = Uploads.in_private_folder(example_images())
    # Gradio's default is one folder for all of its programs and users on a machine.
    os.environ["GRADIO_TEMP_DIR"] = str(uploads.folder)
    try:
        page = build_page(viewer, about, uploads)
        page.queue(max_size=_MOST_WAITING, default_concurrency_limit=1, api_open=False)
        page.launch(
            server_name=host,
            server_port=port,
            theme=theme(),
            css=CSS,
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            quiet=True,
            enable_monitoring=False,
            share=False,
            max_file_size=MOST_BYTES,
            state_session_capacity=_MOST_SESSIONS,
            app_kwargs={
                "middleware": [Middleware(Gate, uploads=uploads, functions=_functions(page))]
            },
        )
    finally:
        shutil.rmtree(uploads.folder, ignore_errors=True)


def _functions(page: gr.Blocks) -> dict[int, list[bool]]:
    """For each value of each function whether it is an image; see `Gate`."""
    return {
        number: [isinstance(component, gr.Image) for component in function.inputs]
        for number, function in page.fns.items()
    }


def build_page(viewer: Viewer, about: str, uploads: Uploads) -> gr.Blocks:
    """The page for one model.

    Args:
        viewer: does the work.
        about: a line that says which model it is.
        uploads: has the examples.
    """

    def answer(seen: Seen, *words_and_settings: Any) -> tuple[Image.Image, str]:
        found = viewer.answer(seen, *words_and_settings)
        return found.picture, table(found)

    def segment(file: dict[str, Any] | None, seen: Seen | None, *rest: Any) -> tuple[Any, ...]:
        with _told():
            if not isinstance(file, dict) or not isinstance(file.get("path"), str):
                raise InputError("choose an image first: upload one, or use one of the examples")
            seen = viewer.look(Path(file["path"]), seen)
            return (seen, *answer(seen, *rest))

    def combine(seen: Seen | None, *rest: Any) -> tuple[Any, ...]:
        if seen is None:
            return gr.skip(), gr.skip()
        with _told():
            return answer(seen, *rest)

    settings = viewer.settings
    page: gr.Blocks = gr.Blocks(
        title=TITLE, analytics_enabled=False, delete_cache=(600, STATE_SECONDS)
    )
    with page:
        gr.Markdown(f"# Segment anything you can name\n{about}", elem_classes="scan-title")
        seen = gr.State(None, time_to_live=STATE_SECONDS)
        with gr.Row():
            with gr.Column(scale=4, min_width=320):
                image = gr.Image(
                    label="Image",
                    sources=["upload", "clipboard"],
                    height=320,
                    buttons=[],
                    elem_id="image",
                )
                gr.Examples(
                    [[str(example)] for example in uploads.examples],
                    image,
                    label="Examples: scenes of the miniature world",
                    cache_examples=False,
                )
                names = gr.Textbox(
                    NAMES,
                    label="What to look for",
                    info="Commas between classes, | between synonyms: cat, dog, sofa | couch",
                    lines=2,
                    elem_id="names",
                )
                background = gr.Textbox(
                    "",
                    label="Background",
                    info="Words for everything else. If empty, every pixel is assigned a class",
                    placeholder="wall, floor",
                    elem_id="background",
                )
                button = gr.Button("Segment", variant="primary", elem_id="segment")
            with gr.Column(scale=5, min_width=360):
                overlay = gr.Image(
                    label="Segmentation",
                    format="png",
                    interactive=False,
                    height=480,
                    buttons=["download", "fullscreen"],
                    elem_id="overlay",
                )
                with gr.Row():
                    weight = gr.Slider(
                        0,
                        1,
                        settings.clip_weight,
                        step=0.05,
                        label="CLIP weight",
                        info="0: segmenter, 1: CLIP",
                        buttons=[],
                        elem_id="weight",
                    )
                    threshold = gr.Slider(
                        viewer.minimum_threshold,
                        1,
                        max(settings.mask_threshold, viewer.minimum_threshold),
                        step=0.01,
                        label="Mask threshold",
                        info="of the masks for CLIP",
                        buttons=[],
                        elem_id="threshold",
                    )
                    minimum_score = gr.Slider(
                        0,
                        1,
                        0,
                        step=0.01,
                        label="Minimum score",
                        info="lower: background",
                        buttons=[],
                        elem_id="minimum-score",
                    )
                classes = gr.HTML(_NOTHING_YET, elem_id="classes")
        words_and_settings = [names, background, weight, threshold, minimum_score]
        gr.on(
            [button.click, names.submit, background.submit],
            segment,
            [image, seen, *words_and_settings],
            [seen, overlay, classes],
            show_progress_on=overlay,
            preprocess=False,  # the uploaded file as it is: our reader says what is wrong with it
        )
        gr.on(
            [weight.input, threshold.input, minimum_score.input],
            combine,
            [seen, *words_and_settings],
            [overlay, classes],
            show_progress="hidden",
            trigger_mode="always_last",
        )
        # What is shown of another image would be taken for this one's.
        image.change(
            lambda: (None, None, _NOTHING_YET),
            None,
            [seen, overlay, classes],
            show_progress="hidden",
        )
    return page


_NOTHING_YET = '<p class="scan-note">Choose an image, name what to look for, and press Segment.</p>'


def table(answer: Answer) -> str:
    """The classes as an HTML table; those that are nowhere in the image come last, pale."""
    rows = answer.rows[:_MOST_ROWS]
    parts = [
        '<table class="scan-table"><thead><tr><th>Class</th><th>Score</th><th></th>'
        "<th>Share</th><th>Pixels</th></tr></thead><tbody>",
        *map(_row, rows),
        "</tbody></table>",
    ]
    if len(rows) < len(answer.rows):
        parts.append(f'<p class="scan-note">and {len(answer.rows) - len(rows)} more classes</p>')
    if answer.foreign:
        words = html.escape(", ".join(answer.foreign[:5]))
        parts.append(
            '<p class="scan-note">CLIP was trained on English captions; its results for '
            f"{words} are guesses.</p>"
        )
    return "".join(parts)


def _row(row: Row) -> str:
    color = "rgb({}, {}, {})".format(*row.color)
    name = f'<span class="scan-chip" style="background: {color}"></span>{html.escape(row.name)}'
    if row.score is None:
        return f'<tr class="absent"><td>{name}</td><td colspan="4">not found</td></tr>'
    width = f"width: {100 * row.score:.0f}%"
    return (
        f'<tr><td>{name}</td><td class="number">{row.score:.2f}</td>'
        f'<td style="width: 30%"><div class="scan-bar" style="{width}; background: {color}"></div>'
        f'</td><td class="number">{100 * row.share:.1f} %</td>'
        f'<td class="number">{row.pixels:,}</td></tr>'
    )


@contextmanager
def _told() -> Iterator[None]:
    """Say what went wrong on the page; of a defect of ours only that it is one."""
    try:
        yield
    except InputError as error:
        raise _shown(str(error), "This cannot be segmented") from None
    except Exception:
        _log.exception("a request failed")
        raise _shown("It is in the server's log.", "Something went wrong") from None


def _shown(message: str, title: str) -> gr.Error:
    return gr.Error(html.escape(message), duration=None, title=title, print_exception=False)

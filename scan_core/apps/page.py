"""Try the model on any image, in the browser."""

from scan_core.apps.model import ModelOptions, Options
from scan_core.params.command_line import run


def page(
    host: str = "127.0.0.1",
    port: int = 7860,
    host_names: tuple[str, ...] = (),
    model: Options = ModelOptions(),  # noqa: B008
) -> None:
    """Try the model on any image, in the browser.

        python -m scan_core.apps.page

    Open the address that it prints. Everything stays on this machine: the page loads nothing from
    other servers. The default model is the one that `make demo` has trained. It knows only the
    drawings and words of the miniature world; for photographs, import the published weights
    (docs/weights.md).

    Args:
        host: 0.0.0.0 makes the page reachable from the network (default: this machine only).
        port: to listen on.
        host_names: by which browsers reach the page, besides this machine's own name.
        model: which model, and its settings.
    """
    from scan_core.apps.page_server import Viewer, serve

    serve(Viewer(model.open()), host, port, host_names)


def start() -> None:
    """Run the command."""
    run(page)


if __name__ == "__main__":
    start()

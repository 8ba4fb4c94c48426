"""What a visitor may ask of the page's server: a few addresses, small requests, and own files.

Gradio's server can do more than this page needs: pass on requests to other machines, read files
that a request names, answer outside its queue. So requests pass here first.
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scan_core.apps.page.uploads import MOST_BYTES, Uploads, new_visitor

_COOKIE = "scan_visitor"
_GRADIO = "/gradio_api"
_MOST_BYTES_OF_REQUEST = 200_000  # words and settings
_UPLOADS_AT_ONCE = 4
_UPLOAD_SECONDS = 120
_GET = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt|/pwa_icon(/\d+)?"
    r"|/(assets|static|svelte)/.*"
    rf"|{_GRADIO}/(info/?|app_id/?|startup-events|queue/data|upload_progress|theme\.css)"
    rf"|{_GRADIO}/heartbeat/\w+|{_GRADIO}/file=.*"
)
_POST = re.compile(rf"{_GRADIO}/(queue/join|run/predict|upload|cancel|reset/?)")


class Gate:
    """Lets through what the page needs.

    Args:
        app: the server behind it.
        uploads: of its visitors.
        functions: number of each function of the page -> for each of its values whether that is an
            image.
    """

    def __init__(
        self, app: ASGIApp, uploads: Uploads, functions: Mapping[int, Sequence[bool]]
    ) -> None:
        self.app, self.uploads, self.functions = app, uploads, functions
        self._uploading = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        path, method = scope["path"], scope.get("method")
        allowed = {"GET": _GET, "HEAD": _GET, "POST": _POST}.get(method or "")
        if scope["type"] != "http" or allowed is None or not allowed.fullmatch(path):
            await _refuse(404, "the page has no such address")(scope, receive, send)
            return
        visitor = _visitor(scope)
        file = path.removeprefix(f"{_GRADIO}/file=")
        if file != path and not self.uploads.is_shown(file, visitor):
            await _refuse(404, "there is no such file")(scope, receive, send)
        elif path == f"{_GRADIO}/upload":
            await self._upload(scope, receive, send, visitor)
        elif method == "POST":
            await self._ask(scope, receive, send, visitor)
        elif path == "/" and not visitor:
            await self.app(scope, receive, _with_cookie(send))
        else:
            await self.app(scope, receive, send)

    async def _upload(self, scope: Scope, receive: Receive, send: Send, visitor: str) -> None:
        """Take a file and note whose it is."""
        length = dict(scope["headers"]).get(b"content-length", b"")
        if not length.isdigit():
            await _refuse(411, "an upload must say its length")(scope, receive, send)
            return
        if int(length) > MOST_BYTES:
            most = f"a file has more than {MOST_BYTES / 1e6:.0f} MB; make the image smaller"
            await _refuse(413, most)(scope, receive, send)
            return
        if self._uploading >= _UPLOADS_AT_ONCE:
            await _refuse(503, "many upload at once; try again")(scope, receive, send)
            return
        self._uploading += 1
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        try:
            await asyncio.wait_for(self.app(scope, receive, keep), _UPLOAD_SECONDS)
        except TimeoutError:
            await _refuse(408, "the upload took too long")(scope, receive, send)
            return
        finally:
            self._uploading -= 1
        if answer and answer[0].get("status") == 200:
            paths = json.loads(b"".join(message.get("body", b"") for message in answer))
            await asyncio.to_thread(self.uploads.add, paths, visitor)
        for message in answer:
            await send(message)

    async def _ask(self, scope: Scope, receive: Receive, send: Send, visitor: str) -> None:
        """Pass on a request without the files in it that are not the visitor's own.

        So whoever names another gets the page's own answer to a request without an image.
        """
        content = b""
        more = True
        while more:
            message = await receive()
            content += message.get("body", b"")
            more = message.get("more_body", False)
            if len(content) > _MOST_BYTES_OF_REQUEST:
                await _refuse(413, "the request is too long")(scope, receive, send)
                return
        if content:
            try:
                request = self._with_own_files(json.loads(content), visitor)
                content = json.dumps(self._with_images(request)).encode()
            except (ValueError, RecursionError):
                await _refuse(400, "expected JSON, with the values of one of the page's functions")(
                    scope, receive, send
                )
                return
        headers = [(k, v) for k, v in scope["headers"] if k != b"content-length"]
        headers.append((b"content-length", str(len(content)).encode()))
        first = {"type": "http.request", "body": content, "more_body": False}
        given = [first]

        async def receive_again() -> Message:
            return given.pop() if given else await receive()

        await self.app({**scope, "headers": headers}, receive_again, send)

    def _with_own_files(self, value: Any, visitor: str) -> Any:
        if isinstance(value, list):
            return [self._with_own_files(part, visitor) for part in value]
        if not isinstance(value, dict):
            return value
        if "path" in value or "url" in value:
            path = value.get("path")
            if not self.uploads.is_readable(path, visitor):
                return None
            return {"path": path, "meta": {"_type": "gradio.FileData"}}
        return {key: self._with_own_files(part, visitor) for key, part in value.items()}

    def _with_images(self, request: Any) -> Any:
        """A request without what stands in the place of an image and is none.

        The server behind takes it for an error of its own, without words.

        Raises:
            ValueError: not the values that the page's function has.
        """
        if not isinstance(request, dict) or "data" not in request:
            return request
        values, number = request["data"], request.get("fn_index")
        kinds = self.functions.get(number) if isinstance(number, int) else None
        if kinds is None or not isinstance(values, list) or len(values) != len(kinds):
            raise ValueError
        data = [
            None if is_image and not isinstance(value, dict) else value
            for value, is_image in zip(values, kinds, strict=True)
        ]
        return {**request, "data": data}


def _visitor(scope: Scope) -> str:
    """By the cookie of the page; empty for a program that keeps none."""
    sent = b"; ".join(value for key, value in scope["headers"] if key == b"cookie")
    try:
        cookies = SimpleCookie(sent.decode("latin1"))
    except CookieError:
        return ""
    return cookies[_COOKIE].value if _COOKIE in cookies else ""


def _with_cookie(send: Send) -> Send:
    cookie = f"{_COOKIE}={new_visitor()}; Path=/; HttpOnly; SameSite=Strict"

    async def send_with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"set-cookie", cookie.encode())]
        await send(message)

    return send_with_cookie


def _refuse(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"detail": reason}, status)

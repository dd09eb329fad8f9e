"""A server on this machine that behaves as well or as badly as a test asks for."""

import re
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """How one request is answered; the default is what a good server does."""

    status: int | None = None  # in place of a file
    body: bytes | None = None  # in place of the server's file
    ranges: bool = True  # understands Range
    drop_after: int | None = None  # bytes of the body, then the connection ends
    announced: int | None = None  # Content-Length, if another than the true one; -1: none
    hold: threading.Event | None = None  # after the body, the connection stays open until this is set
    location: str | None = None  # redirects there
    headers: dict[str, str] = field(default_factory=dict)


class FileServer:
    """Serves one file under every path, and keeps what was asked.

    Args:
        body: the file.
        default: how requests are answered once `script` is used up.
    """

    def __init__(self, body: bytes = b"", default: Answer | None = None) -> None:
        self.body = body
        self.bodies: dict[str, bytes] = {}  # path -> file, in place of `body`
        self.default = default or Answer()
        self.script: deque[Answer] = deque()
        self.requests: list[tuple[str, dict[str, str]]] = []  # path, headers

    def __enter__(self) -> "FileServer":
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append((self.path, dict(self.headers)))
                answer = server.script.popleft() if server.script else server.default
                send(self, answer, server.bodies.get(self.path, server.body))

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False  # so that closing waits for them, and no socket stays open
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def ranges(self) -> list[str | None]:
        """The Range header of each request."""
        return [headers.get("Range") for _, headers in self.requests]


def send(handler: BaseHTTPRequestHandler, answer: Answer, body: bytes) -> None:
    body = body if answer.body is None else answer.body
    if answer.location is not None:
        handler.send_response(302)
        handler.send_header("Location", answer.location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    if answer.status is not None:
        body = b"an error page"
        handler.send_response(answer.status)
    else:
        start = first_byte(handler, answer)
        if start is not None and start >= len(body):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(body)}")
            body = b""
        elif start is not None:
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            body = body[start:]
        else:
            handler.send_response(200)
    if answer.announced != -1:
        handler.send_header("Content-Length", f"{len(body) if answer.announced is None else answer.announced}")
    for name, value in answer.headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body if answer.drop_after is None else body[: answer.drop_after])
    if answer.hold is not None:
        handler.wfile.flush()
        answer.hold.wait(30)


def first_byte(handler: BaseHTTPRequestHandler, answer: Answer) -> int | None:
    """Where the range that was asked for starts; None: the whole file goes out."""
    match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    if match is None or not answer.ranges:
        return None
    return int(match[1])

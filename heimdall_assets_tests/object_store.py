"""A local S3 server (moto) in a process of its own, and one that fails as it is told; for tests and benchmarks.

    python -m heimdall_assets_tests.object_store [PORT [LATENCY_MS]]

runs moto's server, on a free port where none or 0 is given, prints its address, and ends when its standard input does,
so that it never outlives whoever started it. Like a server far away, it answers after so many milliseconds.
"""

from __future__ import annotations

import asyncio
import io
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, cast
from urllib.request import Request, urlopen

import obstore
import uvicorn
from obstore.store import S3Store
from starlette.requests import Request as Asked
from starlette.responses import Response
from uvicorn.middleware.wsgi import build_environ

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from wsgiref.types import WSGIApplication, WSGIEnvironment

    from starlette.types import Receive, Scope, Send

ACCESS_KEY_ID = "AKIDHEIMDALLTEST"
SECRET_ACCESS_KEY = "wJalrXUtnFEMIheimdall+secret"
SESSION_TOKEN = "FwoGZXIvYXdzEheimdall+token"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
    "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
    "AWS_SESSION_TOKEN": SESSION_TOKEN,
    "AWS_REGION": "us-east-1",
}
"""Credentials as operators give them."""


LONG_AGO = "Wed, 21 Oct 2015 07:28:00 GMT"


@dataclass(frozen=True)
class ObjectStore:
    """An S3 server of this machine.

    Attributes
    ----------
    endpoint : str
        Its address.
    """

    endpoint: str

    @property
    def port(self) -> int:
        """Of its address."""
        return int(self.endpoint.rpartition(":")[2])

    def bucket(self, name: str) -> S3Store:
        """Client of a bucket, which need not exist."""
        return S3Store(
            name,
            endpoint=self.endpoint,
            access_key_id=ACCESS_KEY_ID,
            secret_access_key=SECRET_ACCESS_KEY,
            region="us-east-1",
            client_options={"allow_http": True},
        )

    def make_bucket(self, name: str) -> S3Store:
        """Make a bucket; its client."""
        # moto looks at no signature
        with urlopen(Request(f"{self.endpoint}/{name}", method="PUT")):
            pass
        return self.bucket(name)

    def upload(self, bucket: str, folder: Path, prefix: str = "") -> None:
        """Put all files below a folder into a bucket."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                obstore.put(self.bucket(bucket), f"{prefix}{path.relative_to(folder)}", path)


@contextmanager
def serving(port: int = 0, latency_ms: float = 0.0) -> Iterator[ObjectStore]:
    """Run moto's server in a process of its own, with nothing in it; it answers after so many milliseconds."""
    command = [sys.executable, "-m", "heimdall_assets_tests.object_store", str(port), str(latency_ms)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield ObjectStore(process.stdout.readline().strip())
        finally:
            process.stdin.close()
            process.terminate()


Answer = tuple[int, str] | bytes
"""Status and body; or an object's bytes, of which the range that is asked for is given."""


@dataclass
class MoodyServer:
    """A server that answers every request as it is told.

    Attributes
    ----------
    endpoint : str
        Its address.
    answers : list of Answer
        The next answers; the last one stays.
    requests : list of str
        Method, path and range of what was asked.
    may_answer : Event
        Answers wait until it is set; it is at first.
    """

    endpoint: str
    answers: list[Answer]
    requests: list[str] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer a request as the next in turn says."""
        asked = request.headers.get("Range", "")
        self.requests.append(f"{request.command} {request.path} {asked}".strip())
        self.may_answer.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, bytes):
            first, last = (int(number) for number in asked.removeprefix("bytes=").split("-"))
            status, content = 206, answer[first : last + 1]
            headers = {"Content-Range": f"bytes {first}-{first + len(content) - 1}/{len(answer)}", "ETag": '"moody"'}
        else:
            status, content, headers = answer[0], answer[1].encode(), {}
        request.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "Last-Modified": LONG_AGO, **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)


class QuietServer(ThreadingHTTPServer):
    """Clients that gave up waiting are nothing to report."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def moody(*answers: Answer) -> Iterator[MoodyServer]:
    """Run a server that gives these answers one after the other, the last one for ever."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            told.answer(self)

        def do_HEAD(self) -> None:
            told.answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the overridden method's name
            pass

    with QuietServer(("127.0.0.1", 0), Handler) as server:
        told = MoodyServer(f"http://127.0.0.1:{server.server_port}", list(answers))
        told.may_answer.set()
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield told
        finally:
            told.may_answer.set()
            server.shutdown()


def refused(code: str, sentence: str = "", **more: str) -> str:
    """Return the body of an S3 refusal."""
    details = "".join(f"<{name}>{value}</{name}>" for name, value in more.items())
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{sentence}</Message>{details}</Error>"


@dataclass(frozen=True)
class AtOnce:
    """An ASGI application that asks a WSGI one without leaving the event loop.

    As moto computes while it answers, threads would only pass the interpreter's lock around: a sixth of its time.
    """

    application: WSGIApplication
    latency_ms: float

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await asyncio.sleep(self.latency_ms / 1000)
        body = io.BytesIO(await Asked(scope, receive).body())
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], _: object = None) -> Callable[[bytes], object]:
            started.append((status, headers))
            return body.write

        environ = cast("Callable[..., WSGIEnvironment]", build_environ)(scope, {}, body)
        content = b"".join(self.application(environ, start_response))
        status, headers = started[-1]
        await Response(content, int(status.partition(" ")[0]), dict(headers))(scope, receive, send)


def main() -> None:
    """Serve until standard input ends."""
    # a second of imports
    from moto.moto_server.werkzeug_app import create_backend_app  # noqa: PLC0415

    port, latency_ms, *_ = (*sys.argv[1:], "0", "0")
    # S3 alone: to find out which of AWS's services is meant costs moto a quarter of every request.
    s3 = create_backend_app("s3")
    s3.debug = False  # else every request's form is looked through for mistakes of views that are not ours
    answers = AtOnce(s3, float(latency_ms))
    # moto's own server closes the connection after every answer, as no store does; uvicorn keeps it.
    server = uvicorn.Server(
        uvicorn.Config(answers, interface="asgi3", lifespan="off", log_level="critical", proxy_headers=False)
    )

    def stop_with_input() -> None:
        sys.stdin.read()
        server.should_exit = server.force_exit = True

    with socket.create_server(("127.0.0.1", int(port))) as listening:
        sys.stdout.write(f"http://127.0.0.1:{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        threading.Thread(target=stop_with_input, daemon=True).start()
        server.run(sockets=[listening])


if __name__ == "__main__":
    main()

"""A store that fails on purpose: a file system for fsspec over a small HTTP server."""

import http.client
import re
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
from fsspec.spec import AbstractFileSystem


class FlakyStore:
    """Serves `files` by ranges; does what `faults` says, one at each request for content.

    Faults: "ok", an HTTP status, "half" (the body breaks off), "short" (a whole answer with half
    of the bytes), "whole" (the range is ignored). The last one stays.
    """

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.faults: list[object] = ["ok"]
        self.ranges: list[tuple[int, int]] = []
        self.tags: dict[str, str] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def options(self):
        return {"port": self._server.server_address[1]}

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _next_fault(self, start, stop):
        with self._lock:
            self.ranges.append((start, stop))
            return self.faults.pop(0) if len(self.faults) > 1 else self.faults[0]

    def _handler(store):
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_HEAD(self):
                self._answer(200, store.files.get(self.path), with_body=False)

            def do_GET(self):
                start, last = map(int, re.findall(r"\d+", self.headers["Range"]))
                fault = store._next_fault(start, last + 1)
                body = store.files[self.path]
                part = body[start : last + 1]
                if isinstance(fault, int):
                    self._answer(fault, b"")
                elif fault == "whole":
                    self._answer(200, body)
                elif fault == "short":
                    self._answer(206, part[: len(part) // 2])
                else:
                    self._answer(206, part, half=fault == "half")

            def _answer(self, status, body, *, with_body=True, half=False):
                self.send_response(404 if body is None else status)
                self.send_header("Content-Length", str(len(body or b"")))
                self.send_header("ETag", store.tags.get(self.path, "first"))
                self.end_headers()
                if with_body and body is not None:
                    self.wfile.write(body[: len(body) // 2] if half else body)

        return Handler


class FlakyFileSystem(AbstractFileSystem):
    """Reads from a `FlakyStore` as fsspec's stores do."""

    protocol = "flaky"

    def __init__(self, port, **options):
        super().__init__(**options)
        self._host = f"127.0.0.1:{port}"

    def info(self, path, **options):
        try:
            head = urllib.request.Request(f"http://{self._host}{self._path(path)}", method="HEAD")
            with urllib.request.urlopen(head, timeout=5) as answer:
                size, tag = int(answer.headers["Content-Length"]), answer.headers["ETag"]
        except urllib.error.HTTPError as error:
            with error:
                raise self._translated(error, path) from error
        return {"name": path, "size": size, "type": "file", "ETag": tag}

    def cat_file(self, path, start=None, end=None, **options):
        connection = http.client.HTTPConnection(self._host, timeout=5)
        try:
            connection.request(
                "GET", self._path(path), headers={"Range": f"bytes={start}-{end - 1}"}
            )
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            error = RuntimeError(f"{answer.status} {answer.reason}")  # as aiohttp: no OSError
            error.status = answer.status
            raise error
        return body

    def _path(self, path):
        return "/" + self._strip_protocol(path).lstrip("/")

    def _translated(self, error, path):
        return FileNotFoundError(path) if error.code == 404 else error


fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)

"""moto's S3 server, and a proxy before it that fails on purpose."""

import http.client
import logging
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BUCKET = "shards"
KEYS = {"key": "anybody", "secret": "anything"}
REGION = {"region_name": "us-east-1"}
# botocore asks five times by itself, s3fs five times each: here once, so that tests need no minutes
ASKED_ONCE = {"config_kwargs": {"retries": {"max_attempts": 0}}}
SLOW_SECONDS = 0.3
_SIGNED = (
    "AWS4-HMAC-SHA256 Credential=anybody/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=0"
)


class S3Server:
    """A real S3 service in a thread of this process, with one bucket."""

    def __init__(self):
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        self.address = self._server.get_host_and_port()
        self._put(f"/{BUCKET}", b"")

    def put(self, name, content):
        """Store an object as `name` in the bucket."""
        self._put(f"/{BUCKET}/{name}", content)

    def delete(self, name):
        self._request("DELETE", f"/{BUCKET}/{name}", b"")

    def allow(self, requests):
        """Check keys from so many requests on; nobody has any."""
        self._request("POST", "/moto-api/reset-auth", str(requests).encode())

    def close(self):
        self._request("POST", "/moto-api/reset", b"")
        self.allow(float("inf"))
        self._server.stop()
        self._server._server.server_close()

    def _put(self, path, content):
        self._request("PUT", path, content)

    def _request(self, method, path, content):
        host, port = self.address
        request = urllib.request.Request(
            f"http://{host}:{port}{path}",
            data=content,
            method=method,
            headers={"Content-Type": "text/plain", "Authorization": _SIGNED},
        )
        urllib.request.urlopen(request, timeout=20).close()


class FaultyProxy:
    """Passes requests on to a server, and does to the answers what `next_fault` says.

    Faults: "ok", an HTTP status, "half" (the body breaks off), "short" (a whole answer with half of
    the bytes), "slow", "closed" (no answer at all). `faults` are for one request each; the last one
    stays. Assign `next_fault` for another rule.
    """

    def __init__(self, address):
        self.faults: list[object] = ["ok"]
        self.requests: list[tuple[str, str, str]] = []  # method, path, range
        self.next_fault: Callable[[str, str, str], object] = self._from_list
        self._target = address
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._server = _QuietServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the other side was faster

    def _from_list(self, method, path, range_):
        with self._lock:
            self.requests.append((method, path, range_))
            return self.faults.pop(0) if len(self.faults) > 1 else self.faults[0]

    def _handler(proxy):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def setup(self):
                super().setup()
                with proxy._lock:
                    proxy._connections.add(self.connection)

            def finish(self):
                with proxy._lock:
                    proxy._connections.discard(self.connection)
                super().finish()

            def do_GET(self):
                fault = proxy.next_fault(self.command, self.path, self.headers.get("Range", ""))
                if fault == "closed":
                    self.close_connection = True
                    return
                if isinstance(fault, int):
                    self._answer(fault, [], b"")
                    return
                if fault == "slow":
                    time.sleep(SLOW_SECONDS)
                status, headers, body = self._forwarded()
                part = body[: len(body) // 2] if fault in ("half", "short") else body
                self._answer(status, headers, part, promised=body if fault == "half" else part)

            do_HEAD = do_GET

            def _forwarded(self):
                connection = http.client.HTTPConnection(*proxy._target, timeout=20)
                try:
                    connection.request(self.command, self.path, headers=dict(self.headers))
                    answer = connection.getresponse()
                    return answer.status, answer.getheaders(), answer.read()
                finally:
                    connection.close()

            def _answer(self, status, headers, body, promised=b""):
                names = {name.lower(): value for name, value in headers}
                length = len(promised or body)
                if self.command == "HEAD":
                    length = names.get("content-length", "0")
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in ("content-length", "connection", "date", "server"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True
                self.close_connection |= len(body) < len(promised)

        return Handler


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Say nothing of clients that were killed."""


def options(proxy, **more):
    """Return `storage_options` for a proxy."""
    return {**KEYS, "client_kwargs": {"endpoint_url": proxy.url, **REGION}, **ASKED_ONCE, **more}

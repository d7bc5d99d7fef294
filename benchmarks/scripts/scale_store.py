"""A slow store for `scale.py --calibrate`: an HTTP server in its own process, and its fsspec side.

    python -m fusewarp.benchmarks.scripts.scale_store FILE

serves one file by ranges and prints its port. Each answer comes after a pause that the client sets
("/set?LATENCY&SIGMA": lognormal, the median in seconds); "/cpu" tells the server's own CPU time.
"""

import asyncio
import http.client
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec.spec import AbstractFileSystem

URL = "slowstore://pictures.tar"


class _Server:
    """Answers range requests of one file; many at a time, on one thread."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._latency, self._sigma = 0.0, 0.0
        self._random = random.Random(0)

    async def serve(self) -> None:
        server = await asyncio.start_server(self._answer_all, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        async with server:
            await asyncio.to_thread(sys.stdin.read)  # ends with the process that started this one
            os._exit(0)  # connections are open still, and asyncio would report each

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            headers = []
            while (header := await reader.readline()) not in (b"\r\n", b""):
                headers.append(header)
            body = await self._body_for(line.split()[1].decode(), headers)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        writer.close()

    async def _body_for(self, path: str, headers: list[bytes]) -> bytes:
        if path == "/cpu":
            return str(time.process_time()).encode()
        if path == "/size":
            return str(len(self._body)).encode()
        if path.startswith("/set?"):
            self._latency, self._sigma = map(float, path.removeprefix("/set?").split("&"))
            return b""
        asked = next(header for header in headers if header.lower().startswith(b"range:"))
        start, last = map(int, asked.partition(b"=")[2].split(b"-"))
        if self._latency:
            await asyncio.sleep(self._latency * self._random.lognormvariate(0, self._sigma))
        return self._body[start : last + 1]


class SlowStore:
    """The server, as its client sees it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._local = threading.local()  # a connection for each thread, kept open
        self._connections: list[http.client.HTTPConnection] = []

    def get(self, path: str, headers: dict[str, str] | None = None) -> bytes:
        """Return the body of one answer."""
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
            self._connections.append(self._local.connection)
        self._local.connection.request("GET", path, headers=headers or {})
        body: bytes = self._local.connection.getresponse().read()
        return body

    def set_latency(self, seconds: float, sigma: float = 0.0) -> None:
        """Let each answer wait."""
        self.get(f"/set?{seconds}&{sigma}")

    def cpu_seconds(self) -> float:
        """Return the CPU time that the server has used."""
        return float(self.get("/cpu"))

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.close()


class SlowFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """What fsspec needs for `TarSource` to read from a `SlowStore`."""

    protocol = "slowstore"

    cachable = False  # a store is one run's

    def __init__(self, store: SlowStore, **options: Any) -> None:
        super().__init__(**options)
        self._store = store

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Return the size of the one file."""
        return {"name": path, "size": int(self._store.get("/size")), "type": "file"}

    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **options: Any
    ) -> bytes:
        """Return the bytes from `start` to `end`."""
        return self._store.get("/file", {"Range": f"bytes={start}-{(end or 0) - 1}"})


@contextmanager
def running(file: Path) -> Iterator[SlowStore]:
    """Run a server for a file in a process of its own."""
    fsspec.register_implementation("slowstore", SlowFileSystem, clobber=True)
    command = [sys.executable, "-m", __name__, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            store = SlowStore(int(process.stdout.readline()))
            yield store
            store.close()
        finally:
            process.stdin.close()
            process.wait(timeout=30)


if __name__ == "__main__":
    asyncio.run(_Server(Path(sys.argv[1]).read_bytes()).serve())

"""A network between two programs of this machine: slow, lossy or gone, as a test wants it."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

_CHUNK = 64 * 1024


class Proxy:
    """Passes TCP connections on to a port of loopback. A context manager.

    Args:
        target: Port that is passed on to; may be changed, for connections to come.
        delay: Seconds that everything takes on its way, each way.
        rate: Bytes a second, each way of each connection; None for as fast as it goes.
        cut_after: Mean number of bytes after which a connection is cut without a word; None for never.
    """

    def __init__(
        self, target: int, *, delay: float = 0.0, rate: float | None = None, cut_after: float | None = None
    ) -> None:
        self.target = target
        self.delay = delay
        self.rate = rate
        self.cut_after = cut_after
        self.closed = False
        self.cuts = 0
        self._random = random.Random(0)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def close(self) -> None:
        """Cut every connection and refuse others, until ``open``."""
        self.closed = True
        self._run(self._end())

    def open(self) -> None:
        """Pass connections on again."""
        self.closed = False

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not self.closed:
                await self._pass(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
        left = [self._random.expovariate(1 / self.cut_after) if self.cut_after else float("inf")]
        ways = [
            asyncio.ensure_future(self._copy(reader, there_writer, left)),
            asyncio.ensure_future(self._copy(there_reader, writer, left)),
        ]
        try:
            await asyncio.gather(*ways)
        finally:
            for way in ways:
                way.cancel()
            there_writer.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: list[float]) -> None:
        while content := await reader.read(_CHUNK):
            await asyncio.sleep(self.delay + (len(content) / self.rate if self.rate else 0.0))
            left[0] -= len(content)
            if left[0] < 0:
                self.cuts += 1
                raise ConnectionResetError
            writer.write(content)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()

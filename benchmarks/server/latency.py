"""The same questions to one workspace, in process and over HTTP, in turn: p50 and p99."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.query import EPOCH, N_DATA, QUESTIONS, RUN, WEIGHTS, ask, build, start
from ml_debugger.service.contract import QueryRequest
from ml_debugger.service.http import HttpService
from ml_debugger.service.transport import Target
from tests.helpers.server import running_server

_WARM_UP = 3


def latency(rows: int, times: int, folder: Path | None = None) -> bool:
    """One line for each question and way; True if both give the same ids.

    Args:
        rows: Scored inputs of the pool.
        times: Questions of each kind and way.
        folder: Where the pool is made, and kept for the next run.
    """
    place = folder or Path(tempfile.mkdtemp(prefix="latency"))
    pool = place / f"{rows}"
    try:
        if not (pool / "result_name").exists():
            build(pool, rows)
        with running_server(place / "server", str(pool)) as server:
            service = HttpService.open(Target(server.endpoint, server.new_key("default", "read")))
            print(f"{'question':9} {'way':9} {'p50 ms':>7} {'p99 ms':>7}")
            same = min(_compare(question, service, pool, times) for question in QUESTIONS)  # all are asked
            _alone("GET /v1/key, nothing to do", lambda: service.transport.request("GET", "/v1/key"), times)
            service.close()
    finally:
        if folder is None:
            shutil.rmtree(place)
    return same


def _compare(question: str, service: HttpService, pool: Path, times: int) -> bool:
    request = QueryRequest(
        RUN, (pool / "result_name").read_text(), N_DATA, QUESTIONS[question], n_epoch=EPOCH, weights_hash=WEIGHTS
    )
    worker = start("ours", question, pool)
    seconds: dict[str, list[float]] = {"embedded": [], "HTTP": []}
    for number in range(times + _WARM_UP):
        answer = ask(worker)
        began = time.perf_counter()
        ids = service.query(request).input_ids
        elapsed = time.perf_counter() - began
        if number >= _WARM_UP:
            seconds["embedded"].append(answer["seconds"])
            seconds["HTTP"].append(elapsed)
    worker.communicate()
    for way, values in seconds.items():
        p50, p99 = np.percentile(values, [50, 99]) * 1000
        print(f"{question:9} {way:9} {p50:>7.1f} {p99:>7.1f}", flush=True)
    return list(ids) == answer["ids"]


def _alone(what: str, call: Callable[[], object], times: int) -> None:
    values = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        values.append(time.perf_counter() - began)
    p50, p99 = np.percentile(values, [50, 99]) * 1000
    print(f"{what}: p50 {p50:.1f} ms, p99 {p99:.1f} ms", flush=True)

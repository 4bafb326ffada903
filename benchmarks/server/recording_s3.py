"""moto's S3 server with its recorder, which writes one request at a time: lines of two threads must not mix."""

from __future__ import annotations

import sys
import threading
from typing import Any

from moto.moto_api._internal.recorder.models import Recorder
from moto.server import main

_one_at_a_time = threading.Lock()
_record = Recorder._record_request


def _record_alone(self: Recorder, *args: Any) -> None:
    with _one_at_a_time:
        _record(self, *args)


if __name__ == "__main__":
    Recorder._record_request = _record_alone  # type: ignore[method-assign]
    main(sys.argv[1:])

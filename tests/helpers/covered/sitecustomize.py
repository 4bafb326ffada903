"""Found first by servers that tests start while coverage is measured: measures them and their processes too."""

import atexit
import os

import coverage

_measured = coverage.Coverage(
    data_file=os.environ["MEASURED_DATA"], config_file=os.environ["MEASURED_CONFIG"], data_suffix=True
)
_measured._warn_no_data = False
_measured.start()


@atexit.register
def _save() -> None:
    _measured.stop()
    _measured.save()

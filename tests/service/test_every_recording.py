"""Scans that read older recordings too, as a copy of a run needs them."""

from __future__ import annotations

from ml_debugger.service.local import LocalService
from tests.helpers.rows import append, ids_of, make_tables, scan


def test_every_recording_is_read_on_request() -> None:
    service = LocalService.open("memory://")
    append(service, make_tables(["a", "b"], n_units=2, labels=[0, 1]))
    append(service, make_tables(["a"], n_units=3, labels=[2]))
    assert scan(service, "records").num_rows == 5
    every = scan(service, "records", every_recording=True)
    assert ids_of(every).count("a") == 5
    assert scan(service, "inputs", every_recording=True)["n_units"].to_pylist() == [2, 3, 2]
    assert scan(service, "truths", every_recording=True)["truth"].to_pylist() == [0, 2, 1]

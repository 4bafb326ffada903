"""Bytes of others, at the entry of the service: they are stored whole, or refused by an error of ours.

Bodies of appends are broken in every way that hypothesis finds: bits, lengths, cuts, parts of other bodies. What gets
through is stored, and must be readable afterwards.
"""

from __future__ import annotations

import itertools
import json
import resource
import struct
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ml_debugger import columns
from ml_debugger.errors import InputError, MLDebuggerError, TooLargeError
from ml_debugger.service.arrow_bounds import Allowance
from ml_debugger.service.contract import AppendRequest, RunKey, ScanRequest
from ml_debugger.service.frames import encode_table, pack, unpack
from ml_debugger.service.local import LocalService
from ml_debugger.service.wire import decode_append, decode_scan, encode_append, encode_scan
from tests.helpers.rows import RUN, SCHEMA, make_tables, scan

MIB = 2**20
ALLOWED_BYTES, ALLOWED_ROWS = 8 * MIB, 20_000
NUMBERS = [0, 1, -1, 7, 8, 255, 2**15, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, 2**62, 2**63 - 1, -(2**63)]

# Without the phase that explains: it traces every line of what is called, which takes minutes here.
PLAIN: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "phases": (Phase.generate, Phase.shrink),
    "suppress_health_check": list(HealthCheck),
}

Change = Callable[[bytes], bytes]


def body(**changes: Any) -> bytes:
    tables = make_tables(
        ["a", "b é", ""], n_units=2, labels=[0, 1, 2], recording_ids=[1, 2, 3], recorded_at=1, **changes
    )
    return encode_append(AppendRequest("batch", RUN, SCHEMA, tables))


def uncompressed(content: bytes) -> bytes:
    """The same body with plain buffers, so that broken bytes reach lengths, offsets and text."""
    header, parts = unpack(content)
    plain = {}
    for name, part in parts.items():
        table = pa.ipc.open_stream(part).read_all()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        plain[name] = sink.getvalue()
    return pack(header, plain)


BODIES = [body(), uncompressed(body()), uncompressed(body(dataset_type="pool", n_epoch=None, weights=None))]


@st.composite
def changes(draw: st.DrawFn, longest: int) -> Change:
    """One way to break bytes."""
    at = draw(st.integers(0, longest))
    number = draw(st.sampled_from(NUMBERS))
    width = draw(st.sampled_from([1, 2, 4, 8]))
    junk = draw(st.binary(max_size=24))
    other = draw(st.sampled_from(BODIES))
    length = draw(st.integers(0, 64))

    def overwrite(content: bytes) -> bytes:
        value = (number & (2 ** (8 * width) - 1)).to_bytes(width, "little")
        return content[:at] + value + content[at + width :]

    ways: list[Change] = [
        overwrite,
        lambda content: content[:at],
        lambda content: content[:at] + junk + content[at:],
        lambda content: content[:at] + junk + content[at + len(junk) :],
        lambda content: content[:at] + content[at + length :],
        lambda content: content[:at] + content[at : at + length] * 2 + content[at + length :],
        lambda content: content[:at] + other[at : at + length] + content[at + length :],
    ]
    return ways[draw(st.integers(0, len(ways) - 1))]


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A body of which a few places are broken: anywhere, or in its tables while the frames around them are right."""
    content = draw(st.sampled_from(BODIES))
    if draw(st.booleans()):
        for change in draw(st.lists(changes(len(content)), min_size=1, max_size=3)):
            content = change(content)
        return content
    header, parts = unpack(content)
    pieces = {name: bytes(part) for name, part in parts.items()}
    if pieces:
        name = draw(st.sampled_from(sorted(pieces)))
        for change in draw(st.lists(changes(len(pieces[name])), min_size=1, max_size=4)):
            pieces[name] = change(pieces[name])
        if draw(st.booleans()):
            pieces = dict(zip(draw(st.permutations(sorted(pieces))), pieces.values(), strict=True))
    return pack(header, pieces)


class Entry:
    """A service that takes bytes."""

    def __init__(self) -> None:
        self.service = LocalService.open("memory://")
        self.taken: set[RunKey] = set()
        self.refused = 0

    def take(self, content: bytes) -> None:
        try:
            request = decode_append(content, Allowance(ALLOWED_BYTES, ALLOWED_ROWS))
            self.service.append(request)
        except MLDebuggerError:
            self.refused += 1
        else:
            self.taken.add(request.run)

    def check(self) -> None:
        """Everything that was taken can be read."""
        for run in self.taken:
            for kind in (columns.INPUTS, columns.RECORDS, columns.TRUTHS):
                for batch in self.service.scan(ScanRequest(run, kind)):
                    batch.validate(full=True)


def fuzz(examples: int, **options: Any) -> Entry:
    entry = Entry()
    entry.take(BODIES[0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(max_examples=examples, **PLAIN, **options)
    @given(broken())
    def run(content: bytes) -> None:
        entry.take(content)

    run()
    entry.check()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 300, "memory grew by this many MiB"
    return entry


def test_broken_bodies_are_taken_whole_or_refused() -> None:
    entry = fuzz(400, derandomize=True)
    assert entry.refused > 200
    assert entry.taken


@pytest.mark.slow
def test_many_broken_bodies_are_taken_whole_or_refused() -> None:
    assert fuzz(20_000).refused > 10_000


@settings(max_examples=150, derandomize=True, **PLAIN)
@given(st.binary(max_size=400))
def test_any_bytes_are_refused(content: bytes) -> None:
    for prefix in (b"", b"MLD1"):
        for decode in (decode_append, decode_scan):
            with pytest.raises(InputError):
                decode(prefix + content, Allowance(ALLOWED_BYTES, ALLOWED_ROWS))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["\ud800", "a\0b", "x" * 5000]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def test_headers_of_any_json_are_taken_or_refused() -> None:
    """Every value of the JSON beside the rows, replaced by any other."""
    entry = Entry()
    numbers = itertools.count()

    @settings(max_examples=200, derandomize=True, **PLAIN)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        header, parts = unpack(BODIES[0])
        header["run"]["model_name"] = f"model{next(numbers)}"
        places = [(header, name) for name in header]
        places += [(header[part], name) for part in ("run", "schema") for name in header[part]]
        for place, name in data.draw(st.lists(st.sampled_from(places), max_size=2)):
            place[name] = data.draw(values)
        if data.draw(st.integers(0, 4)) == 0:
            header[data.draw(st.text(max_size=10))] = data.draw(values)
        entry.take(frame(header, parts))

    run()
    entry.check()
    assert entry.refused
    assert entry.taken


def frame(header: dict[str, Any], parts: dict[str, memoryview]) -> bytes:
    """A framed body as no client of ours makes it: with NaN, infinities and lone surrogates."""
    head = json.dumps({"header": header, "parts": [[name, len(part)] for name, part in parts.items()]}).encode()
    return b"".join([b"MLD1", struct.pack("<I", len(head)), head, *parts.values()])


def of_zeros(n_bytes: int) -> bytes:
    """A small stream that is large when decompressed."""
    return encode_table(pa.table({"recording_ids": pa.array([0] * (n_bytes // 8), pa.int64())})).to_pybytes()


def test_rows_that_would_fill_the_memory_are_refused_before_they_do() -> None:
    part = of_zeros(64 * MIB)
    assert len(part) < MIB
    header, _ = unpack(encode_scan(ScanRequest(RUN, "inputs")))
    before = pa.total_allocated_bytes()
    with pytest.raises(TooLargeError, match="recording_ids: 8388608 rows of"):
        decode_scan(pack(header, {"recording_ids": part}), Allowance(ALLOWED_BYTES, 2**60))
    assert pa.total_allocated_bytes() - before < MIB


def test_tables_share_what_is_allowed() -> None:
    header, parts = unpack(BODIES[0])
    with pytest.raises(TooLargeError):
        decode_append(pack(header, {name: bytes(part) for name, part in parts.items()}), Allowance(MIB, 11))


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", "a"]).dictionary_encode(),
        pa.RunEndEncodedArray.from_arrays([10_000], [1]),
        pa.array([{"a": 1}]),
        pa.array([b"bytes"]),
        pa.array([[["deep"]]]).cast(pa.list_(pa.list_(pa.binary()))),
    ],
    ids=lambda column: str(column.type),
)
def test_kinds_of_columns_that_rows_never_have_are_refused(column: pa.Array) -> None:
    header, _ = unpack(BODIES[0])
    part = encode_table(pa.table({"input_id": column})).to_pybytes()
    with pytest.raises(InputError, match="inputs: "):
        decode_append(pack(header, {"inputs": part}), Allowance(ALLOWED_BYTES, ALLOWED_ROWS))


@pytest.mark.parametrize(
    ("offsets", "content"),
    [
        ([0, 3, 5, 10], b"abc\xff\xfefghij"),
        ([0, 3, 5, 9000], b"abcdefghij"),
        ([0, 5, 3, 10], b"abcdefghij"),
        ([-8, 3, 5, 10], b"abcdefghij"),
    ],
    ids=["no UTF-8", "past its end", "backwards", "before its start"],
)
def test_strings_that_point_anywhere_are_refused(offsets: list[int], content: bytes) -> None:
    tables = make_tables(["abc", "de", "fghij"])
    right = uncompressed(encode_append(AppendRequest("batch", RUN, SCHEMA, tables)))
    for old, new in ((struct.pack("<4i", 0, 3, 5, 10), struct.pack("<4i", *offsets)), (b"abcdefghij", content)):
        assert old in right  # of the inputs and of their records
        right = right.replace(old, new)
    with pytest.raises(InputError, match="expected an Arrow IPC stream"):
        decode_append(right, Allowance(ALLOWED_BYTES, ALLOWED_ROWS))


def test_a_part_that_is_longer_than_its_stream_is_not_read_past_it() -> None:
    """What follows the end of a stream inside its part is never rows."""
    header, parts = unpack(BODIES[0])
    longer = {name: bytes(part) + struct.pack("<q", -1) * 4 for name, part in parts.items()}
    entry = Entry()
    entry.take(pack(header, longer))
    if entry.taken:
        assert scan(entry.service).num_rows == 3


def test_headers_of_absurd_depth_are_refused() -> None:
    deep = b'{"header": {"a": ' + b"[" * 200_000 + b"]" * 200_000 + b'}, "parts": []}'
    with pytest.raises(InputError):
        unpack(b"MLD1" + struct.pack("<I", len(deep)) + deep)
    with pytest.raises(InputError):
        unpack(b"MLD1" + struct.pack("<I", 2**32 - 1) + json.dumps({}).encode())

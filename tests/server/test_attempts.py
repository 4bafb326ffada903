"""Failed attempts by address."""

from __future__ import annotations

import pytest

from ml_debugger.server import attempts
from ml_debugger.server.attempts import Attempts


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_ten_a_minute_are_allowed_and_forgotten_after_it() -> None:
    clock = Clock()
    tried = Attempts(clock)
    for _ in range(10):
        assert tried.wait("10.0.0.1", "key") == 0.0
        tried.failed("10.0.0.1")
        clock.now += 1
    assert tried.wait("10.0.0.1", "key") == pytest.approx(50.0)
    assert tried.wait("10.0.0.2", "key") == 0.0
    clock.now += 50.1
    assert tried.wait("10.0.0.1", "key") == 0.0
    tried.failed("10.0.0.1")
    assert tried.wait("10.0.0.1", "key") > 0.0


def test_a_key_that_was_right_before_is_looked_at() -> None:
    tried = Attempts(Clock())
    tried.accepted("10.0.0.1", "mine")
    for _ in range(20):
        tried.failed("10.0.0.1")
    assert tried.wait("10.0.0.1", "mine") == 0.0
    assert tried.wait("10.0.0.1", "other") > 0.0


def test_addresses_of_one_customer_count_together() -> None:
    tried = Attempts(Clock())
    for number in range(10):
        tried.failed(f"2001:db8::{number}")
    assert tried.wait("2001:db8::ffff", "key") > 0.0
    assert tried.wait("2001:db8:0:1::1", "key") == 0.0
    assert tried.wait("fe80::1%eth0", "key") == 0.0
    assert tried.wait("a name", "key") == 0.0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_MAX_ADDRESSES", 20)
    tried = Attempts(Clock())
    for number in range(100):
        tried.failed(f"10.0.0.{number}")
        tried.accepted("10.0.1.1", f"{number}")
    assert len(tried._addresses) == 20
    assert len(tried._addresses["10.0.1.1"].accepted) == 2
    assert len(tried._addresses["10.0.1.1"].failures) == 0

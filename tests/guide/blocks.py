"""Code blocks of the original guide: which lines they are, and the indentation that its text lost.

The text itself is not kept here. A block is run word for word; only three things are filled in: a literal ``...``, a
comment that stands for code (``# ... collect data ...``), and the values of the two credentials.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[3] / "shared" / "reference" / "data_filtering_guide.txt"
SHA256 = "e9ebfec99d1cba5e37c76982decdbbd1087912648e1416fc3b929f0d42b56172"

CREDENTIAL = re.compile(r'(os\.environ\["MLD_API_(ENDPOINT|KEY)"\] = )".*"')


@dataclass(frozen=True)
class Block:
    """Lines ``first`` to ``last`` of the guide, counted from 1; lines that are not in ``depths`` have depth 0."""

    first: int
    last: int
    depths: Mapping[int, int] = field(default_factory=dict)

    def code(self, fill: Mapping[int, str] | None = None, credentials: tuple[str, str] = ("", "")) -> str:
        """The block with its indentation, and with its ``...`` filled: by line number, what stands for it.

        ``credentials`` are the values of endpoint and key; empty: the embedded mode.
        """
        if not GUIDE.exists():
            pytest.skip(f"the original guide is not here: {GUIDE.name}")
        content = GUIDE.read_bytes()
        assert hashlib.sha256(content).hexdigest() == SHA256, (
            "the guide changed: line numbers and depths no longer hold"
        )
        lines = content.decode().splitlines()
        fill = fill or {}
        numbers = range(self.first, self.last + 1)
        assert {n for n in numbers if "..." in lines[n - 1]} == set(fill), "every ... is filled, and nothing else"
        return "\n".join(
            "    " * self.depths.get(n, 0) + _filled(lines[n - 1], fill.get(n), credentials) for n in numbers
        )


def _filled(line: str, value: str | None, credentials: tuple[str, str]) -> str:
    if value is None:
        chosen = dict(zip(("ENDPOINT", "KEY"), credentials, strict=True))
        return CREDENTIAL.sub(lambda found: f'{found[1]}"{chosen[found[2]]}"', line)
    return value if line.startswith("#") else line.replace("...", value, 1)


def depths(*ranges: tuple[int, int, int]) -> dict[int, int]:
    """Depth by line number, from (first line, last line, depth)."""
    return {line: depth for first, last, depth in ranges for line in range(first, last + 1)}


def blocks() -> list[Block]:
    """Every block of this file."""
    return [value for value in globals().values() if isinstance(value, Block)]


INITIALIZE = Block(16, 22)
INITIALIZE_REAL_TIME = Block(25, 31)
RESULT_NAME = Block(74, 75)
INFER = Block(80, 88, depths((82, 83, 1), (84, 87, 2), (88, 88, 1)))
INFER_REAL_TIME = Block(96, 110, depths((99, 100, 1), (101, 104, 2), (105, 106, 1), (107, 107, 2), (108, 109, 3)))
QUERY_SORT = Block(117, 120)
QUERY_ZONES = Block(129, 133)
QUERY_THRESHOLD = Block(134, 138)
QUERY_COMBINED = Block(139, 143)
QUERY_OPTIONS = Block(217, 222)
COMPLETE = Block(
    224,
    266,
    depths((243, 244, 1), (245, 245, 2), (261, 262, 1), (263, 263, 2), (264, 264, 1), (265, 265, 2), (266, 266, 3)),
)
ACTIVE_LEARNING = Block(359, 375, depths((361, 375, 1)))
EPOCH = Block(380, 386)
EPOCH_SOLUTION = Block(389, 393)
VERSION_SOLUTION = Block(394, 395)

DETECTION_INITIALIZE = Block(37, 43)
DETECTION_INITIALIZE_REAL_TIME = Block(47, 53)
DETECTION_QUERY_SORT = Block(166, 169)
DETECTION_QUERY_BOXES = Block(177, 184)
DETECTION_COMPLETE = Block(
    267,
    312,
    depths((286, 287, 1), (288, 288, 2), (307, 308, 1), (309, 309, 2), (310, 310, 1), (311, 311, 2), (312, 312, 3)),
)

DETECTION_3D_INITIALIZE = Block(55, 61)
DETECTION_3D_INITIALIZE_REAL_TIME = Block(65, 71)
DETECTION_3D_COMPLETE = Block(
    313,
    356,
    depths((332, 333, 1), (352, 354, 1), (355, 355, 2), (356, 356, 3)),
)

# From the first line to the last: what comments on code beside a block.
COMMENTS = ((389, 391),)

"""BBoxStrategy: its fields, and images from boxes on every path."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_debugger import columns
from ml_debugger.columns import ZONES
from ml_debugger.errors import ConfigError
from ml_debugger.selection import (
    BBoxStrategy,
    FilterConfig,
    box_aggregation,
    box_candidates,
    parse_bbox_strategy,
    ranked_frame,
)
from ml_debugger.selection.box_aggregation import Boxes, aggregate_boxes, box_order
from tests.helpers.box_aggregation_reference import image_values
from tests.helpers.selection_examples import operators

GRID = [0.0, 0.125, 0.25, 0.5, 0.75, 1.0]
numbers = st.sampled_from(GRID)
box_rows = st.lists(
    st.fixed_dictionaries(
        {
            "recording_id": st.integers(0, 5),
            "error_proba": st.one_of(numbers, st.just(math.nan)),
            "det_error_proba": numbers,
            "cls_error_proba": numbers,
            "score": numbers,
            "pred_size": st.sampled_from([0.0, 1.0, 2.0, 5.0]),
            "zone": st.sampled_from(list(ZONES)),
            "age": st.one_of(st.none(), st.integers(-1, 3)),
        }
    ),
    max_size=40,
)
named = st.sampled_from(["error_proba", "score", "pred_size", "age", "cls_error_proba"])
conditions = st.dictionaries(named, st.builds(lambda o, v: f"{o}{v}", operators, numbers), min_size=1, max_size=2)
strategies = st.fixed_dictionaries(
    {
        "target_column": st.sampled_from(["error_proba", "det_error_proba", "cls_error_proba"]),
        "top_n": st.one_of(st.none(), st.integers(1, 4)),
        "bbox_filter": st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {
                    "conditions": st.lists(conditions, min_size=1, max_size=2),
                    "target_zones": st.lists(st.sampled_from(list(ZONES)), max_size=2),
                }
            ),
        ),
        "aggregation": st.sampled_from(["mean", "median"]),
        "weight_column": st.sampled_from([None, "pred_size", "age", "score"]),
        "img_error_threshold": st.one_of(st.none(), numbers),
    }
)


def scored_boxes(rows: list[dict]) -> pa.Table:
    """Score rows of boxes; the position in the list tells the unit."""
    schema = columns.schema_of("scores").append(pa.field("age", pa.int64()))
    units: dict[int, int] = {}
    data = []
    for row in rows:
        units[row["recording_id"]] = unit = units.get(row["recording_id"], -1) + 1
        given = {"input_id": f"i{row['recording_id']}", "id_kind": "str", "unit": unit, "label": unit, "age": None}
        data.append({name: {**given, **row}.get(name) for name in schema.names})
    nullable = pa.schema([field.with_nullable(True) for field in schema])
    return pa.Table.from_pylist(data, schema=nullable)


@settings(deadline=None, max_examples=300)
@given(rows=box_rows, config=strategies, seed=st.integers(0, 9))
def test_numpy_polars_and_the_slow_reference_agree(rows: list[dict], config: dict, seed: int) -> None:
    table = scored_boxes(rows)
    shuffled = table.take(pa.array(np.random.default_rng(seed).permutation(table.num_rows)))
    expected = image_values(table.to_pylist(), config)
    parsed = BBoxStrategy(**config)
    fast = box_candidates(shuffled, parsed)
    found = dict(zip(fast["recording_id"].to_pylist(), fast["rank_value"].to_pylist(), strict=True))
    assert found == pytest.approx(expected)
    frame = pl.DataFrame(table)
    for scored in (frame, frame.lazy()):
        same = box_candidates(scored, parsed).lazy().collect().sort("recording_id")
        assert same.columns == fast.column_names
        assert pl.DataFrame(fast).sort("recording_id").equals(same)  # to the bit
    threshold = config["img_error_threshold"]
    flags = dict(zip(fast["recording_id"].to_pylist(), fast["selected"].to_pylist(), strict=True))
    assert flags == {name: threshold is None or value >= threshold for name, value in found.items()}
    only = box_candidates(shuffled, parsed, selected_only=True)
    assert sorted(only["recording_id"].to_pylist()) == sorted(name for name, flag in flags.items() if flag)
    lazily = box_candidates(frame.lazy(), parsed, selected_only=True).collect()
    assert sorted(lazily["recording_id"].to_list()) == sorted(only["recording_id"].to_pylist())


@settings(deadline=None, max_examples=100)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    seed=st.integers(0, 1000),
    top_n=st.one_of(st.none(), st.integers(1, 5)),
    median=st.booleans(),
    weighted=st.booleans(),
)
def test_an_image_has_the_same_bits_alone(
    sizes: list[int], seed: int, top_n: int | None, median: bool, weighted: bool
) -> None:
    random = np.random.default_rng(seed)
    image = np.repeat(np.arange(len(sizes)), sizes)
    value = np.concatenate([-np.sort(-random.random(size)) for size in sizes])
    weight = random.uniform(0.1, 1e6, len(value)) if weighted else None
    whole = aggregate_boxes(image, value, weight, top_n=top_n, median=median)
    for place in range(len(sizes)):
        rows = image == place
        alone = aggregate_boxes(
            image[rows], value[rows], None if weight is None else weight[rows], top_n=top_n, median=median
        )
        assert alone.value[0] == whole.value[place]
        assert np.flatnonzero(rows)[alone.first[0]] == whole.first[place]


def boxes(*values: float, **more: list[float]) -> pa.Table:
    rows = [{"recording_id": 1, "error_proba": value, "zone": "hotspot", "pred_size": 1.0} for value in values]
    for name, given_values in more.items():
        for row, one in zip(rows, given_values, strict=True):
            row[name] = one
    return scored_boxes(rows)


def rank(table: pa.Table, **config: object) -> list[float]:
    return box_candidates(table, BBoxStrategy(**config))["rank_value"].to_pylist()


def test_the_filter_comes_first_then_top_n() -> None:
    table = boxes(0.9, 0.8, 0.4, 0.2)
    assert rank(table, bbox_filter={"conditions": [{"error_proba": "<0.85"}]}, top_n=2) == [pytest.approx(0.6)]
    assert rank(table, top_n=2) == [pytest.approx(0.85)]


def test_an_image_without_a_box_left_has_no_row() -> None:
    assert rank(boxes(0.2, 0.3), bbox_filter={"conditions": [{"error_proba": ">0.5"}]}) == []


def test_weights() -> None:
    table = boxes(0.8, 0.2, 0.1, pred_size=[1.0, 1.0, 6.0])
    assert rank(table, weight_column="pred_size") == [pytest.approx(1.6 / 8)]
    assert rank(table, weight_column="pred_size", aggregation="median") == [0.1]
    assert rank(table, aggregation="median") == [0.2]
    assert rank(boxes(0.8, 0.2), aggregation="median") == [0.5]
    assert rank(boxes(0.8, 0.2, pred_size=[3.0, 3.0]), aggregation="median", weight_column="pred_size") == [0.5]
    assert rank(boxes(0.8, 0.2, pred_size=[0.0, math.inf]), weight_column="pred_size") == []


def test_a_row_stands_for_its_most_likely_error() -> None:
    found = box_candidates(boxes(0.1, 0.7, 0.7), None)
    assert found["label"].to_pylist() == [1]
    assert found["selected"].to_pylist() == [True]


def test_nothing_in_nothing_out() -> None:
    empty = scored_boxes([])
    assert box_candidates(empty, None).num_rows == 0
    assert box_candidates(pl.DataFrame(empty).lazy(), None).collect().height == 0


def test_defaults_are_those_of_the_guide() -> None:
    config = BBoxStrategy()
    assert config.model_dump() == {
        "target_column": "error_proba",
        "top_n": None,
        "bbox_filter": None,
        "aggregation": "mean",
        "weight_column": None,
        "sort": "desc",
        "img_error_threshold": None,
    }
    assert config.descending
    assert not config.gives_flags
    assert not BBoxStrategy(sort="asc").descending
    assert BBoxStrategy(img_error_threshold=0.0).gives_flags


def test_a_filter_as_a_dict_or_a_config() -> None:
    given_filter = {"conditions": [{"error_proba": ">=0.3"}]}
    assert BBoxStrategy(bbox_filter=given_filter) == BBoxStrategy(bbox_filter=FilterConfig(**given_filter))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"aggregation": "max"}, "'mean' or 'median'"),
        ({"target_column": "score"}, "'det_error_proba'"),
        ({"top_n": 0}, "greater than or equal to 1"),
        ({"top_n": True}, "valid integer"),
        ({"sort": "up"}, "'desc' or 'asc'"),
        ({"img_error_threshold": 1.5}, "less than or equal to 1"),
        ({"bbox_filter": {"conditions": [{"error_proba": "high"}]}}, "expected an operator"),
        ({"bbox_filter": {}}, "nothing to select by"),
        ({"weight": "pred_size"}, "weight"),
        ({"weight_column": "colour"}, "weight_column: no such numeric column: 'colour'; available: .*pred_size"),
        ({"bbox_filter": {"conditions": [{"colour": ">1"}]}}, "no such numeric column: 'colour'"),
        ("high", "expected a BBoxStrategy or a dict"),
    ],
)
def test_mistakes_say_what_is_allowed(config: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_bbox_strategy(config)


def test_validate_dict_guides() -> None:
    wrong = BBoxStrategy.validate_dict({"aggregation": "max"})
    assert not wrong.is_valid
    assert "Allowed keys: target_column" in wrong.message
    right = BBoxStrategy.validate_dict({"top_n": 3})
    assert right.is_valid
    assert right.config.top_n == 3


def test_numeric_additional_fields_weigh_and_filter() -> None:
    config = parse_bbox_strategy({"weight_column": "age", "bbox_filter": {"conditions": [{"age": ">0"}]}}, ("age",))
    table = boxes(0.8, 0.2, 0.4, age=[1, 3, 0])
    assert box_candidates(table, config)["rank_value"].to_pylist() == [pytest.approx(0.35)]
    with pytest.raises(ConfigError, match="no such numeric column"):
        box_candidates(table, BBoxStrategy(weight_column="zone"))


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 7), max_size=30), seed=st.integers(0, 1000), kind=st.sampled_from(["whole", "mixed"])
)
def test_boxes_of_a_pool_are_ordered_as_one_sort_would(sizes: list[int], seed: int, kind: str) -> None:
    """Images of one size at once, in pieces; stored in order or not; many equal values."""
    random = np.random.default_rng(seed)
    image = np.repeat(random.permutation(len(sizes)) if kind == "mixed" else np.arange(len(sizes)), sizes)
    unit = np.concatenate([[0], *(np.arange(size) for size in sizes)])[1:].astype(np.int64)
    value = random.integers(0, 4, len(image)) / 4
    if kind == "mixed":
        rows = random.permutation(len(image))
        image, unit, value = image[rows], unit[rows], value[rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(box_aggregation, "FEW", 0)
        patch.setattr(box_aggregation, "AT_A_TIME", 3)
        patch.setattr(box_aggregation, "BLOCK", 5)
        found = box_order(image, value, unit)
        values = box_aggregation.image_values(Boxes(image, unit, value, value + 0.5), top_n=3, median=True)
    rows = np.lexsort((unit, -value, image))
    whole = aggregate_boxes(image[rows], value[rows], value[rows] + 0.5, top_n=3, median=True)
    np.testing.assert_array_equal(values.value, whole.value)
    np.testing.assert_array_equal(values.first, rows[whole.first])
    np.testing.assert_array_equal(found, np.lexsort((unit, -value, image)))


def test_details_are_read_for_those_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether few are looked up or all are joined, and whatever the filter, the candidates are the same."""
    rows = [{"recording_id": at // 3, "error_proba": GRID[at % 5], "zone": "hotspot"} for at in range(90)]
    frame = pl.DataFrame(scored_boxes(rows)).lazy()
    expected = pl.DataFrame(box_candidates(scored_boxes(rows), BBoxStrategy(top_n=1))).sort("recording_id")
    for limit in (0, 50_000):
        monkeypatch.setattr(ranked_frame, "LOOK_UP_ROWS", limit)
        lazily = box_candidates(frame, BBoxStrategy(top_n=1))
        for wanted in (
            pl.lit(True),
            pl.col("rank_value") >= 0.75,
            pl.col("rank_value") < 0.75,
            pl.col("input_id") == "i7",
            (pl.col("input_id") > "i2") & (pl.col("rank_value") > 0.5),
        ):
            chosen = lazily.filter(wanted).collect().sort("recording_id")
            assert chosen.equals(expected.filter(wanted))
            ranks = lazily.filter(wanted).select("rank_value").collect()["rank_value"].sort()
            assert ranks.equals(expected.filter(wanted)["rank_value"].sort())
        assert lazily.head(4).collect().height == 4
        batches = lazily.collect_batches(chunk_size=7, maintain_order=False, engine="streaming")
        assert pl.concat(list(batches)).sort("recording_id").equals(expected)

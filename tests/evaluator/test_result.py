"""A result shows what the service found."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pyarrow as pa
import pytest
from matplotlib import pyplot

from ml_debugger.columns import ZONES
from ml_debugger.errors import ConfigError, InputError
from ml_debugger.evaluator import Result
from ml_debugger.service.contract import ResultPayload, RunKey
from tests.helpers.payloads import LIMITS, make_payload

RUN = RunKey("toy", "v1")


@pytest.fixture
def payload():
    return make_payload()


@pytest.fixture
def result(payload):
    yield Result(payload)
    pyplot.close("all")


def replaced(payload, **parts):
    names = ("info", "metrics", "samples", "zones", "error_codes", "missed")
    return ResultPayload(**{name: getattr(payload, name) for name in names} | parts)


class TestFacts:
    def test_attributes(self, result):
        assert result.method_name == "classification_v1"
        assert result.created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        assert result.completed_at > result.created_at
        assert result.notes == ["12 rows of older weights were left out"]
        assert result.info["limits"] == LIMITS
        assert result.metrics["baseline"]["auroc"] == pytest.approx(0.81)

    def test_repr_names_the_result(self, result):
        assert repr(result).startswith("Result('toy_v1_classification_v1_20260102'")
        assert "rows=400" in repr(result)

    def test_what_is_handed_out_can_be_changed_without_harm(self, result):
        result.metrics.clear()
        result.info.clear()
        zones = result.zones
        zones["zone"] = "changed"
        assert result.metrics
        assert result.result_name
        assert list(result.zones["zone"]) == list(ZONES)


class TestSamples:
    def test_columns_and_types(self, result):
        frame = result.samples()
        assert list(frame.columns) == [
            "input_id", "unit", "dataset_type", "n_epoch", "label", "score", "error_proba", "zone", "support",
            "truth", "is_error", "error_code", "ignored",
        ]  # fmt: skip
        assert frame["input_id"].tolist() == list(range(400))
        assert frame["truth"].dtype == "Int64"
        assert frame["is_error"].dtype == bool

    def test_additional_fields_come_last_and_internal_columns_stay_inside(self, payload):
        samples = payload.samples.append_column("camera", pa.array(["left"] * 400))
        samples = samples.append_column("recording_id", pa.array(range(400)))
        frame = Result(replaced(payload, samples=samples)).samples()
        assert frame.columns[-1] == "camera"
        assert "recording_id" not in frame

    def test_filters_narrow_together(self, result):
        everything = result.samples()
        hot = result.samples("val", ["hotspot", "recessive_hotspot"], only_errors=True)
        wanted = everything[
            (everything["dataset_type"] == "val")
            & everything["zone"].isin(["hotspot", "recessive_hotspot"])
            & everything["is_error"]
        ]
        assert 0 < len(hot) < len(everything)
        assert hot["input_id"].tolist() == wanted["input_id"].tolist()
        assert hot.index.tolist() == list(range(len(hot)))

    def test_error_code_filter(self, result):
        code = result.error_codes["error_code"][0]
        assert set(result.samples(error_code=code)["error_code"]) == {code}
        assert result.samples(error_code="CLS0->99").empty

    def test_ignored_rows_are_left_out_unless_asked_for(self, payload):
        flags = pa.array([index < 10 for index in range(400)])
        index = payload.samples.schema.get_field_index("ignored")
        result = Result(replaced(payload, samples=payload.samples.set_column(index, "ignored", flags)))
        assert len(result.samples()) == 390
        assert len(result.samples(include_ignored=True)) == 400

    def test_unknown_names_list_the_known_ones(self, result):
        with pytest.raises(ConfigError, match=r"stable_coverage.*got \['warm'\]"):
            result.samples(zone="warm")
        with pytest.raises(InputError, match=r"\['test', 'val'\], got \['valid'\]"):
            result.samples("valid")

    def test_mixed_ids_come_back_as_given(self, payload):
        kinds = pa.array(["int"] * 399 + ["str"])
        index = payload.samples.schema.get_field_index("id_kind")
        result = Result(replaced(payload, samples=payload.samples.set_column(index, "id_kind", kinds)))
        assert result.samples()["input_id"].tolist()[-2:] == [398, "399"]


class TestTables:
    def test_zones_are_all_six(self, result):
        assert result.zones["zone"].tolist() == list(ZONES)

    def test_example_ids_are_as_given(self, result):
        for code, examples in zip(result.error_codes["error_code"], result.error_codes["example_ids"], strict=True):
            frame = result.samples(error_code=code)
            assert set(examples) <= set(frame["input_id"])

    def test_missed_is_empty_in_classification(self, result):
        assert result.missed().empty
        assert list(result.missed().columns) == ["input_id", "truth"]

    def test_heatmap_counts_every_row_once(self, result):
        cells = result.heatmap()
        assert cells["count"].sum() == 400
        assert cells["n_errors"].sum() == result.samples()["is_error"].sum()
        assert cells.attrs["limits"] == LIMITS

    def test_heatmaps_of_the_classes_add_up(self, result):
        assert sum(result.heatmap(class_id)["count"].sum() for class_id in range(4)) == 400
        assert result.heatmap(99).empty


class TestPictures:
    def test_axes_in_and_out(self, result):
        for draw in (result.plot_zones, result.plot_reliability, result.plot_heatmap):
            _, ax = pyplot.subplots()
            assert draw(ax=ax) is ax

    def test_heatmap_of_a_class_says_so(self, result):
        ax = result.plot_heatmap(2)
        assert "predicted class 2" in ax.get_title(loc="left")
        assert sum(1 for _ in ax.collections[0].get_paths()) == len(result.heatmap(2))

    def test_summary_and_notebook_form(self, result):
        assert result.summary().startswith(result.result_name)
        assert "<table>" in result._repr_html_()

    def test_report_is_written_where_asked(self, result, tmp_path):
        path = result.report(tmp_path / "reports" / "r.html")
        assert path == tmp_path / "reports" / "r.html"
        assert result.result_name in path.read_text(encoding="utf-8")

    def test_a_result_without_rows_still_shows(self, payload, tmp_path):
        empty = Result(
            replaced(payload, samples=payload.samples.slice(0, 0), error_codes=payload.error_codes.slice(0, 0))
        )
        assert isinstance(empty.samples(), pd.DataFrame)
        assert empty.report(tmp_path / "r.html").exists()
        pyplot.close("all")

"""The public surface: names, arguments and defaults that users of the original SDK rely on, and nothing by accident."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import pytest

import ml_debugger

PUBLIC = {
    "ml_debugger": {"__version__"},
    "ml_debugger.training": {"ClassificationTracer", "ObjectDetection3DTracer", "ObjectDetectionTracer"},
    "ml_debugger.evaluator": {"Evaluator", "Result"},
    "ml_debugger.data_filter": {
        "BBoxStrategy",
        "ClassificationDataFilter",
        "FilterConfig",
        "ObjectDetection3DDataFilter",
        "ObjectDetectionDataFilter",
        "SamplingConfig",
    },
}

REQUIRED = inspect.Parameter.empty
CREDENTIALS = {"api_endpoint": None, "api_key": None}
THRESHOLDS = {"n_class": None, "score_thresh": None, "iou_thresh": None, "max_detections_per_image": None}
FRAME_THRESHOLDS = {"n_class": None, "score_thresh": None, "iou_thresh": None, "max_detections_per_frame": None}

# Documented arguments in their order, with their defaults. New ones come after them and are keyword-only.
SIGNATURES: dict[str, dict[str, Any]] = {
    "training.ClassificationTracer": {
        "model": REQUIRED,
        "model_name": REQUIRED,
        "version_name": REQUIRED,
        "target_layers": None,
        "additional_fields": None,
        "additional_label_fields": None,
        "auto_sync": False,
        "force_table_recreate": False,
        **CREDENTIALS,
    },
    "training.ClassificationTracer.__call__": {
        "model_input": REQUIRED,
        "ground_truth": REQUIRED,
        "input_ids": REQUIRED,
        "dataset_type": "train",
        "n_epoch": None,
    },
    "training.ClassificationTracer.wait_for_save": {},
    "training.ObjectDetectionTracer": {
        "model": REQUIRED,
        "model_name": REQUIRED,
        "version_name": REQUIRED,
        "target_layers": None,
        "additional_fields": None,
        "additional_label_fields": None,
        "auto_sync": False,
        "force_table_recreate": False,
        **CREDENTIALS,
        **THRESHOLDS,
    },
    "training.ObjectDetectionTracer.__call__": {
        "model_input": REQUIRED,
        "ground_truth": REQUIRED,
        "input_ids": REQUIRED,
        "dataset_type": "train",
        "n_epoch": None,
    },
    "training.ObjectDetectionTracer.wait_for_save": {},
    "training.ObjectDetection3DTracer": {
        "model": REQUIRED,
        "model_name": REQUIRED,
        "version_name": REQUIRED,
        "target_layers": None,
        "additional_fields": None,
        "additional_label_fields": None,
        "auto_sync": False,
        "force_table_recreate": False,
        **CREDENTIALS,
        **FRAME_THRESHOLDS,
        "pc_range": None,
        "ground_truth_provider": None,
    },
    "training.ObjectDetection3DTracer.__call__": {
        "model_input": REQUIRED,
        "ground_truth": None,
        "input_ids": None,
        "dataset_type": "train",
        "n_epoch": None,
    },
    "training.ObjectDetection3DTracer.wait_for_save": {},
    "data_filter.ClassificationDataFilter": {
        "model": REQUIRED,
        "model_name": REQUIRED,
        "version_name": REQUIRED,
        "result_name": None,
        "n_epoch": "latest",
        "filter_config": None,
        "target_layers": None,
        "additional_fields": None,
        "auto_sync": False,
        "force_table_recreate": False,
        **CREDENTIALS,
    },
    "data_filter.ClassificationDataFilter.__call__": {
        "model_input": REQUIRED,
        "input_ids": REQUIRED,
        "dataset_type": "pool",
    },
    "data_filter.ClassificationDataFilter.query": {
        "n_data": REQUIRED,
        "strategy": REQUIRED,
        "dataset_type": "pool",
        "type_cast": None,
        "exclude": (),
    },
    "data_filter.ClassificationDataFilter.scores": {"dataset_type": "pool"},
    "data_filter.ClassificationDataFilter.estimate_accuracy": {"dataset_type": "pool"},
    "data_filter.ClassificationDataFilter.wait_for_save": {},
    "data_filter.ObjectDetectionDataFilter": {
        "model": REQUIRED,
        "model_name": REQUIRED,
        "version_name": REQUIRED,
        "result_name": None,
        "n_epoch": "latest",
        "filter_config": None,
        "target_layers": None,
        "additional_fields": None,
        "auto_sync": False,
        "force_table_recreate": False,
        **CREDENTIALS,
        **THRESHOLDS,
    },
    "data_filter.ObjectDetectionDataFilter.__call__": {
        "model_input": REQUIRED,
        "input_ids": REQUIRED,
        "dataset_type": "pool",
    },
    "data_filter.ObjectDetectionDataFilter.query": {
        "n_data": REQUIRED,
        "strategy": REQUIRED,
        "dataset_type": "pool",
        "type_cast": None,
        "exclude": (),
    },
    "data_filter.ObjectDetectionDataFilter.scores": {"dataset_type": "pool"},
    "data_filter.ObjectDetectionDataFilter.missed_proba": {"dataset_type": "pool"},
    "data_filter.ObjectDetection3DDataFilter": {
        "model": REQUIRED,
        "model_name": REQUIRED,
        "version_name": REQUIRED,
        "result_name": None,
        "n_epoch": "latest",
        "filter_config": None,
        "target_layers": None,
        "additional_fields": None,
        "auto_sync": False,
        "force_table_recreate": False,
        **CREDENTIALS,
        **FRAME_THRESHOLDS,
    },
    "data_filter.ObjectDetection3DDataFilter.__call__": {
        "model_input": REQUIRED,
        "input_ids": REQUIRED,
        "dataset_type": "pool",
    },
    "data_filter.ObjectDetection3DDataFilter.query": {
        "n_data": REQUIRED,
        "strategy": REQUIRED,
        "dataset_type": "pool",
        "type_cast": None,
        "exclude": (),
    },
    "data_filter.ObjectDetection3DDataFilter.scores": {"dataset_type": "pool"},
    "data_filter.ObjectDetection3DDataFilter.missed_proba": {"dataset_type": "pool"},
    "evaluator.Evaluator": {"model_name": REQUIRED, "version_name": REQUIRED, **CREDENTIALS},
    "evaluator.Evaluator.request_evaluation": {
        "method_name": "default",
        "result_name": None,
        "n_epoch": "latest",
        "options": None,
    },
    "evaluator.Evaluator.list_results": {"result_name": None, "method_name": None, "n_epoch": "latest"},
    "evaluator.Evaluator.get_result": {"result_name": REQUIRED},
    "evaluator.Result.heatmap": {"class_id": None},
    "evaluator.Result.report": {"path": REQUIRED},
}

# Result's attributes and methods that others build on.
RESULT_MEMBERS = {
    "result_name", "method_name", "n_epoch", "created_at", "completed_at",
    "samples", "missed", "zones", "error_codes", "metrics",
    "heatmap", "plot_heatmap", "plot_zones", "plot_reliability", "summary", "report", "_repr_html_",
}  # fmt: skip


@pytest.mark.parametrize("module", PUBLIC)
def test_a_module_exports_exactly_the_public_names(module: str) -> None:
    loaded = importlib.import_module(module)
    assert set(loaded.__all__) == PUBLIC[module]
    assert all(hasattr(loaded, name) for name in loaded.__all__)


@pytest.mark.parametrize("name", SIGNATURES)
def test_documented_arguments_keep_their_order_and_defaults(name: str) -> None:
    module, _, attributes = name.partition(".")
    target: Any = importlib.import_module(f"ml_debugger.{module}")
    for attribute in attributes.split("."):
        target = getattr(target, attribute)
    parameters = [p for p in inspect.signature(target).parameters.values() if p.name != "self"]
    expected = SIGNATURES[name]
    documented = parameters[: len(expected)]
    assert {p.name: p.default for p in documented} == expected
    assert [p.name for p in documented] == list(expected)
    assert all(p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for p in documented)
    new_kinds = {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
    assert all(p.kind in new_kinds for p in parameters[len(expected) :])


def test_result_has_its_members() -> None:
    result = importlib.import_module("ml_debugger.evaluator").Result
    named = set(dir(result)) | set(getattr(result, "__annotations__", {}))
    assert named >= RESULT_MEMBERS


@pytest.mark.parametrize("name", ["monitoring"])
def test_what_does_not_exist_yet_is_not_importable(name: str) -> None:
    assert name not in {module.name for module in pkgutil.iter_modules(ml_debugger.__path__)}


def test_every_export_has_a_docstring() -> None:
    bare = [
        f"{module.name}.{name}"
        for module in pkgutil.walk_packages(ml_debugger.__path__, "ml_debugger.")
        if ".migrations" not in module.name and not module.name.endswith("__main__")
        for loaded in [importlib.import_module(module.name)]
        for name in getattr(loaded, "__all__", ())
        for value in [getattr(loaded, name)]
        if (inspect.isclass(value) or inspect.isfunction(value)) and not inspect.getdoc(value)
    ]
    assert not bare

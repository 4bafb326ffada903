"""What the code of the documentation takes for granted: a trained model, its loaders, and an evaluated run."""

from __future__ import annotations

from typing import Any

from ml_debugger.data_filter import ClassificationDataFilter
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ClassificationTracer
from tests.helpers.digits import loader, small_classifier

TRAIN = range(150)
VAL = range(150, 650)
POOL = range(650, 1797)

# Pages that bring everything with them.
SELF_CONTAINED = {"README.md", "CONTRIBUTING.md", "quickstart.md", "callables.md", "object-store.md"}
# Pages that trace, or evaluate, themselves.
TRACES = {"trace.md"}
EVALUATES = {"evaluate.md"}
# Pages on which the pool was already run.
AFTER_INFERENCE = {"cli.md"}


def page_names(page: str) -> dict[str, Any]:
    """Names that a page may use without defining them; makes an evaluated run where the page needs one."""
    names: dict[str, Any] = {"__name__": "__main__"}
    if page in SELF_CONTAINED:
        return names
    names |= {
        "model": small_classifier(TRAIN),
        "train_loader": loader(TRAIN),
        "val_loader": loader(VAL),
        "pool_loader": loader(POOL),
    }
    if page not in TRACES:
        tracer = ClassificationTracer(names["model"], model_name="digits_cnn", version_name="v1")
        for dataset_type in ("train", "val"):
            for images, labels, ids in names[f"{dataset_type}_loader"]:
                tracer(images, labels, ids, dataset_type=dataset_type)
        tracer.wait_for_save()
    if page not in TRACES | EVALUATES:
        names["result"] = Evaluator("digits_cnn", "v1").request_evaluation()
    if page in AFTER_INFERENCE:
        data_filter = ClassificationDataFilter(names["model"], "digits_cnn", "v1", names["result"].result_name)
        for images, _, ids in names["pool_loader"]:
            data_filter(images, ids)
        data_filter.wait_for_save()
    return names

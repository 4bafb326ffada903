"""A scikit-learn pipeline, traced as it is: which of the unlabelled digits does it get wrong?

Run it with: python examples/scikit_learn.py
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ml_debugger.data_filter import ClassificationDataFilter
from ml_debugger.evaluator import Evaluator
from ml_debugger.training import ClassificationTracer

if __name__ == "__main__":
    x, y = load_digits(return_X_y=True)
    ids = np.arange(len(x))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(x[:150], y[:150])

    tracer = ClassificationTracer(pipeline.predict_proba, "digits_pipeline", "v1")
    tracer(x[:150], y[:150], ids[:150], dataset_type="train")
    tracer(x[150:700], y[150:700], ids[150:700], dataset_type="val")
    result = Evaluator("digits_pipeline", "v1").request_evaluation()
    print(result.summary())

    data_filter = ClassificationDataFilter(pipeline.predict_proba, "digits_pipeline", "v1", result.result_name)
    data_filter(x[700:], ids[700:])
    queried = data_filter.query(50, "high_error_proba")
    wrong = pipeline.predict(x) != y
    print(f"Of the 50 queried {wrong[queried].sum()} are wrong; of 50 at random {50 * wrong[700:].mean():.0f}")

"""Evaluator and Result: learn where a traced model errs, and look at what was learned."""

from ml_debugger.evaluator.requests import Evaluator
from ml_debugger.evaluator.result import Result

__all__ = ["Evaluator", "Result"]

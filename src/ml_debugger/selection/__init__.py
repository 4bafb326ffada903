"""Selecting inputs: conditions, configs, candidates, strategies and sampling. Pure functions on Arrow and NumPy."""

from ml_debugger.selection.bbox_strategy import BBoxStrategy, box_candidates, parse_bbox_strategy
from ml_debugger.selection.candidates import candidates, parse_filter
from ml_debugger.selection.configs import ConfigCheck, FilterConfig, SamplingConfig
from ml_debugger.selection.strategies import STRATEGIES

__all__ = [
    "STRATEGIES",
    "BBoxStrategy",
    "ConfigCheck",
    "FilterConfig",
    "SamplingConfig",
    "box_candidates",
    "candidates",
    "parse_bbox_strategy",
    "parse_filter",
]

"""Selecting inputs: conditions, configs, candidates, strategies and sampling. Pure functions on Arrow and NumPy."""

from ml_debugger.selection.candidates import candidates, parse_filter
from ml_debugger.selection.configs import ConfigCheck, FilterConfig, SamplingConfig
from ml_debugger.selection.strategies import STRATEGIES

__all__ = ["STRATEGIES", "ConfigCheck", "FilterConfig", "SamplingConfig", "candidates", "parse_filter"]

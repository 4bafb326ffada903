"""Pure analysis of scored and labelled rows: zones with their promises, error codes, the heatmap."""

from __future__ import annotations

from ml_debugger.analysis.certification import Certificate, certify
from ml_debugger.analysis.error_codes import classification_codes, code_table
from ml_debugger.analysis.heatmap import heatmap
from ml_debugger.analysis.zones import ZoneLimits, assign_zones, fit_limits, zone_rules, zone_table

__all__ = [
    "Certificate",
    "ZoneLimits",
    "assign_zones",
    "certify",
    "classification_codes",
    "code_table",
    "fit_limits",
    "heatmap",
    "zone_rules",
    "zone_table",
]

"""Pure analysis of scored and labelled rows: zones with their promises, error codes, matched boxes, the heatmap."""

from __future__ import annotations

from ml_debugger.analysis.boxes import PredictedBoxes, TrueBoxes
from ml_debugger.analysis.certification import Certificate, certify
from ml_debugger.analysis.detection_codes import detection_codes
from ml_debugger.analysis.error_codes import classification_codes, code_table
from ml_debugger.analysis.heatmap import heatmap
from ml_debugger.analysis.matching import Match, MatchSettings, match
from ml_debugger.analysis.suppressed import Candidates, suppressed
from ml_debugger.analysis.zones import ZoneLimits, assign_zones, fit_limits, zone_rules, zone_table

__all__ = [
    "Candidates",
    "Certificate",
    "Match",
    "MatchSettings",
    "PredictedBoxes",
    "TrueBoxes",
    "ZoneLimits",
    "assign_zones",
    "certify",
    "classification_codes",
    "code_table",
    "detection_codes",
    "fit_limits",
    "heatmap",
    "match",
    "suppressed",
    "zone_rules",
    "zone_table",
]

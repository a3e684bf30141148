"""Decides, with evidence, whether an AI coding lane may get more traffic."""

from vpanalysis.analysis.decision import Verdict, classify
from vpanalysis.analysis.metrics import Metrics, summarize
from vpanalysis.analysis.policy import Policy
from vpanalysis.analysis.snapshot import snapshot
from vpanalysis.data.source import open_source
from vpanalysis.data.window import RolloutWindow
from vpanalysis.errors import InputError

__all__ = [
    "InputError",
    "Metrics",
    "Policy",
    "RolloutWindow",
    "Verdict",
    "classify",
    "open_source",
    "snapshot",
    "summarize",
]

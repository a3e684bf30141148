"""Decides, with evidence, whether an AI coding lane may get more traffic.

``import vpanalysis as vp`` offers what the notebooks use; each name is imported when it is first used.

>>> import vpanalysis as vp
>>> with vp.open_source("sample") as source:
...     tables = source.load(vp.RolloutWindow("vp.coder.primary", last_missions=100))
>>> verdict = vp.classify(vp.summarize(tables), vp.Policy.load("playbook"))
>>> verdict.lane_status, verdict.action, verdict.evidence.strength
('HEALTHY', 'continue', 'insufficient')
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from vpanalysis.analysis.answer import snapshot as snapshot
    from vpanalysis.analysis.decision import classify as classify
    from vpanalysis.analysis.history import history as history
    from vpanalysis.analysis.metrics import Metrics as Metrics
    from vpanalysis.analysis.metrics import summarize as summarize
    from vpanalysis.analysis.policy import Policy as Policy
    from vpanalysis.analysis.signatures import signatures as signatures
    from vpanalysis.analysis.verdict import Verdict as Verdict
    from vpanalysis.data.source import open_source as open_source
    from vpanalysis.data.window import RolloutWindow as RolloutWindow
    from vpanalysis.errors import InputError as InputError
    from vpanalysis.report.document import publish as publish
    from vpanalysis.report.fleet_report import FleetReport as FleetReport
    from vpanalysis.report.lane_overview import lane_overview as lane_overview
    from vpanalysis.report.log import evidence_log as evidence_log
    from vpanalysis.report.rollout import rollout_report as rollout_report
    from vpanalysis.report.rollout_history import history_report as history_report
    from vpanalysis.report.row import evidence_row as evidence_row
    from vpanalysis.report.sections import plots as plots
    from vpanalysis.report.sections import tables as tables
    from vpanalysis.report.window_report import WindowReport as WindowReport

_HOME = {
    "FleetReport": "report.fleet_report",
    "InputError": "errors",
    "Metrics": "analysis.metrics",
    "Policy": "analysis.policy",
    "RolloutWindow": "data.window",
    "Verdict": "analysis.verdict",
    "WindowReport": "report.window_report",
    "classify": "analysis.decision",
    "evidence_log": "report.log",
    "evidence_row": "report.row",
    "history": "analysis.history",
    "history_report": "report.rollout_history",
    "lane_overview": "report.lane_overview",
    "open_source": "data.source",
    "plots": "report.sections",
    "publish": "report.document",
    "rollout_report": "report.rollout",
    "signatures": "analysis.signatures",
    "snapshot": "analysis.answer",
    "summarize": "analysis.metrics",
    "tables": "report.sections",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("vpanalysis")
    if name not in _HOME:
        raise AttributeError(f"module 'vpanalysis' has no attribute {name!r}")
    return getattr(import_module(f"vpanalysis.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)

"""Imported by the process that a batch's runs are forked from: its imports are done."""

from vpanalysis.batch import make
from vpanalysis.report.packaged import preload

preload()

__all__ = ["make"]

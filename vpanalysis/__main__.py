"""``python -m vpanalysis``."""

from vpanalysis.cli import main

main()

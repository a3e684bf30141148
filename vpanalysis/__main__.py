"""``python -m vpanalysis``."""

from vpanalysis.cli import main

if __name__ == "__main__":  # a batch's processes import it under another name
    main()

"""``python -m vpanalysis.batch.alone``: one run in a process of its own, for a cluster's worker.

It reads a pickled :class:`.cluster.Parcel` from stdin and writes what became of it to stdout.
"""

import os
import pickle
import sys

from vpanalysis.batch.cluster import unpacked_and_made

if __name__ == "__main__":
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else belongs into the answer
    with answer:
        pickle.dump(unpacked_and_made(pickle.load(sys.stdin.buffer)), answer)

"""A gateway in a process of its own: it has the database open and runs the SQL that a test sends it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_PROGRAM = """
import json, sqlite3, sys
def connect():
    return sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)
connection = connect()
for line in sys.stdin:
    rows = []
    for statement in json.loads(line):
        if statement == "REOPEN":
            connection.close()
            connection = connect()
        else:
            rows = connection.execute(statement).fetchall()
    print(json.dumps(rows), flush=True)
connection.close()
"""


class GatewayProcess:
    """SQLite in another process: two copies of SQLite in one process would not see each other's locks."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, *statements: str) -> list[list[Any]]:
        """Runs the statements, each committed by itself, and returns the last one's rows; ``REOPEN`` closes first."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(statements) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the gateway's process ended"
        return list(json.loads(line))

    def close(self) -> None:
        """Closes the database as a gateway that is stopped does."""
        if self._process.poll() is None:
            self._process.communicate(timeout=20)

    def kill(self) -> None:
        """Ends it without a chance to close anything."""
        self._process.kill()
        self._process.communicate(timeout=20)

"""How much the package weighs: characters of its code by folder, and against an earlier commit.

``python benchmarks/size.py [COMMIT]`` counts every Python file of ``vpanalysis/``: all characters, and those of code
alone (without docstrings, comments and white space), which no line length and no documentation can change.
"""

import ast
import io
import subprocess
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
_LAYOUT = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def characters_of_code(source: str) -> int:
    """Returns the characters of a module's tokens, but for docstrings, comments and layout."""
    docstrings = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                docstrings.add((first.lineno, first.col_offset))
    return sum(
        len("".join(token.string.split())) if token.type == tokenize.STRING else len(token.string)
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in _LAYOUT and token.start not in docstrings
    )


def sources(commit: str | None) -> Iterator[tuple[str, str]]:
    """Yields the path and the text of each Python file of the package, as it is or as a commit has it."""
    if commit is None:
        for path in sorted((ROOT / "vpanalysis").rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text("utf-8")
        return
    names = _git("ls-tree", "-r", "--name-only", commit, "vpanalysis/").splitlines()
    for name in names:
        if name.endswith(".py"):
            yield name, _git("show", f"{commit}:{name}")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def weigh(commit: str | None) -> dict[str, tuple[int, int, int]]:
    """Returns files, characters and characters of code by folder, and of them all."""
    found: dict[str, tuple[int, int, int]] = defaultdict(lambda: (0, 0, 0))
    for name, source in sources(commit):
        folder = name.split("/")[1] if name.count("/") > 1 else "(top)"
        for key in (folder, "all"):
            files, total, code = found[key]
            found[key] = files + 1, total + len(source), code + characters_of_code(source)
    return dict(found)


def main() -> None:
    """Prints the table, with the earlier commit's numbers first when one is named."""
    columns = [(commit or "now", weigh(commit)) for commit in [*sys.argv[1:2], None]]
    print("folder".ljust(10), *(f"{name[:10]:>10}: files {'characters':>12} {'of code':>10}" for name, _ in columns))
    for folder in sorted(columns[-1][1], key=lambda name: (name == "all", name)):
        cells = [weights.get(folder, (0, 0, 0)) for _, weights in columns]
        print(folder.ljust(10), *(f"{files:>17} {total:>12,} {code:>10,}" for files, total, code in cells))


if __name__ == "__main__":
    main()

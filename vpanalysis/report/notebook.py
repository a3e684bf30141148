"""Executing a notebook by papermill: parameters checked first, a scratch folder, finished files moved into place."""

import hashlib
import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import papermill
import zmq
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from vpanalysis.data.ops_token import without_token
from vpanalysis.data.timestamps import as_utc
from vpanalysis.data.window import DEFAULT_LAST_MISSIONS
from vpanalysis.errors import InputError
from vpanalysis.report import engine, locations
from vpanalysis.report.document import DOCUMENT_MIME
from vpanalysis.scratch import scratch_folder

engine.register()

_TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
_IN_WORDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}
#: What a run leaves, in the order in which it appears; a failed one leaves the first only.
_ENDINGS = (".failed.ipynb", ".ipynb", ".html", ".json")


@dataclass(frozen=True)
class Produced:
    """The files of one run.

    Attributes:
        html: The self-contained report.
        notebook: The executed notebook.
        document: The JSON twin; ``None`` when the notebook published none.
        content: What ``document`` holds.
    """

    html: Path
    notebook: Path
    document: Path | None
    content: Mapping[str, Any] | None


class NotebookFailedError(Exception):
    """A notebook raised, or ended before its last cell; the sentence says where the failed copy is."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a notebook: its name, type (``str``, ``int``, ``float``, ``bool``), default and help."""

    name: str
    type: str
    default: str
    help: str


@cache
def parameters_of(notebook: Path) -> tuple[Parameter, ...]:
    """Returns the parameters that a notebook's ``parameters`` cell declares.

    Raises:
        InputError: The file is no notebook.
    """
    try:
        declared = papermill.inspect_notebook(str(notebook))
    except Exception as error:
        raise InputError(f"{notebook} is not a readable notebook: {error}") from None
    return tuple(
        Parameter(name, item["inferred_type_name"], item["default"], item["help"]) for name, item in declared.items()
    )


def check_parameters(notebook: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the given parameters in the types the notebook declares.

    Args:
        notebook: The notebook's path.
        given: Values by name; text is converted to the declared type.

    Raises:
        InputError: A parameter is unknown or a value does not fit its type.
    """
    declared = {parameter.name: parameter for parameter in parameters_of(notebook)}
    checked = {}
    for name, value in given.items():
        if name not in declared:
            raise InputError(
                f"{notebook.stem} has no parameter {name!r}: its parameters are {', '.join(declared) or 'none'}."
            )
        checked[name] = _converted(name, value, declared[name].type)
    return checked


def _converted(name: str, value: Any, type_name: str) -> Any:
    wanted = _TYPES.get(type_name)
    if wanted is None or type(value) is wanted:
        return value
    if isinstance(value, str):
        try:
            if wanted is bool:
                return {"true": True, "false": False}[value.strip().lower()]
            return wanted(value)
        except (KeyError, ValueError):
            pass
    raise InputError(f"The parameter {name} is {value!r}: give {_IN_WORDS[type_name]}.")


def run(
    notebook: Path,
    parameters: Mapping[str, Any],
    out: Path,
    *,
    kernel: bool = False,
    name: str | None = None,
    batch: Mapping[str, Any] | None = None,
) -> Produced:
    """Executes a notebook and puts its HTML, its executed copy and its JSON into ``out``.

    Everything is made in a scratch folder inside ``out`` and moved into place when it is complete. Paths and URLs
    among the parameters reach the notebook under names that are fit to be shown (see :mod:`.locations`).

    Args:
        notebook: The notebook's path.
        parameters: As :func:`check_parameters` returns them.
        out: The folder of the results; made when missing.
        kernel: Starts a kernel also for a notebook that needs none (see :mod:`.engine`).
        name: The files' name without their endings; ``None``: as `output_name` has it.
        batch: What the JSON twin is to say of the batch that the run belongs to.

    Raises:
        InputError: The notebook's own checks refused its parameters or source, or ``out`` cannot be written.
        NotebookFailedError: A cell raised or never ran; ``NAME.failed.ipynb`` is left in ``out``.
    """
    shown, hidden = locations.shown(parameters)
    name = name or output_name(notebook, shown)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with scratch_folder(out) as folder, locations.handed_over(hidden):
            content, failure = _make(notebook, shown, folder / f"{name}.ipynb", batch or {}, kernel=kernel)
            made = [file for ending in _ENDINGS if (file := folder / f"{name}{ending}").exists()]
            for file in made:
                _keep_private(file, parameters.get("source"))
                file.replace(out / file.name)
    except OSError as error:
        raise InputError(f"The folder {out} cannot be written: {error.strerror or error}.") from None
    failed, executed, html, document = (out / f"{name}{ending}" for ending in _ENDINGS)
    if failure:
        left = f" Its failed copy is {failed}." if made else ""
        raise NotebookFailedError(f"The notebook failed{failure}.{left}")
    failed.unlink(missing_ok=True)
    return Produced(html, executed, document if content is not None else None, content)


def _make(
    notebook: Path, parameters: Mapping[str, Any], executed: Path, batch: Mapping[str, Any], *, kernel: bool
) -> tuple[dict[str, Any] | None, str]:
    """Makes a run's files; returns what its JSON twin holds, and what goes on after "The notebook failed"."""
    from vpanalysis.report.html import to_html

    try:
        failure = _execute(notebook, parameters, executed, kernel=kernel)
    finally:
        if executed.exists():
            executed.write_text(without_token(executed.read_text("utf-8")), "utf-8")
    if not executed.exists():
        return None, f" before its first cell: {failure}"
    content = nbformat.read(executed, as_version=4)  # type: ignore[no-untyped-call]
    begun = _begun(content)
    _forget_the_run(content)
    nbformat.write(content, executed)  # type: ignore[no-untyped-call]
    if failure and not failure.startswith("cell "):
        failure += f" in cell {begun}"
    failure = failure or _incomplete(content)
    if failure:
        executed.rename(executed.with_suffix(".failed.ipynb"))
        return None, f": {failure}"
    executed.with_suffix(".html").write_text(to_html(content), "utf-8")
    document = published_document(content)
    if document is not None:
        document |= batch
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        executed.with_suffix(".json").write_text(text, "utf-8")
    return document, ""


def _execute(notebook: Path, parameters: Mapping[str, Any], executed: Path, *, kernel: bool) -> str:
    """Executes a notebook; returns what made it fail, ``""`` when nothing did."""
    connection = {
        "transport_encryption": "auto" if zmq.has("curve") else "disabled",
        "connection_file": str(executed.with_name("kernel.json")),
    }
    try:
        papermill.execute_notebook(
            str(notebook),
            str(executed),
            parameters=parameters,
            engine_name=engine.NAME,
            kernel=kernel,
            died=str(executed),
            cwd=str(Path.cwd()),
            kernel_name="python3",
            progress_bar=False,
            request_save_on_cell_execute=False,
            autosave_cell_every=0,
            extra_arguments=["--log-level=50"],  # a kernel that is told to end complains on stderr
            config=Config(KernelManager=connection),
        )
    except PapermillExecutionError as error:
        words = without_token(error.evalue)
        if error.ename in {kind.__name__ for kind in _kinds(InputError)}:
            raise InputError(words) from None
        return f"cell {error.exec_count} raised {error.ename}: {_first_line(words)}"
    except (RuntimeError, TimeoutError) as error:
        return without_token(str(error)).rstrip(".")
    return ""


def _begun(notebook: nbformat.NotebookNode) -> int:
    """Returns how many code cells were begun."""
    return sum(
        bool(cell.metadata.get("papermill", {}).get("start_time"))
        for cell in notebook.cells
        if cell.cell_type == "code"
    )


def _forget_the_run(notebook: nbformat.NotebookNode) -> None:
    """Removes what differs from run to run: times, paths, the id of the cell with the parameters."""
    for part in (notebook, *notebook.cells):
        part.metadata.pop("execution", None)
        for name in ("start_time", "end_time", "duration", "input_path", "output_path"):
            part.metadata.get("papermill", {}).pop(name, None)
        if "injected-parameters" in part.metadata.get("tags", ()):
            part["id"] = "injected-parameters"


def _incomplete(notebook: nbformat.NotebookNode) -> str:
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None:
            return f"cell {number} never ran (did an earlier cell end the kernel?)"
    return ""


def _keep_private(file: Path, source: object) -> None:
    """Lets nobody read a file who may not read the database that it tells of; the umask has had its say."""
    database = Path(source) if isinstance(source, str) else file
    if not database.is_file():
        return
    of, status = database.stat(), file.stat()
    allowed = 0o700 | of.st_mode & 0o777
    if of.st_gid != status.st_gid and not allowed & 0o004:
        allowed &= ~0o070
    file.chmod(stat.S_IMODE(status.st_mode) & allowed)


def _kinds(error: type[Exception]) -> list[type[Exception]]:
    return [error, *(kind for direct in error.__subclasses__() for kind in _kinds(direct))]


def _first_line(text: str) -> str:
    return text.splitlines()[0].rstrip(".") if text else "no message"


def published_document(notebook: nbformat.NotebookNode) -> dict[str, Any] | None:
    """Returns the report's JSON that a cell of an executed notebook published; ``None`` when none did."""
    for cell in reversed(notebook.cells):
        for output in cell.get("outputs", []):
            content = output.get("data", {}).get(DOCUMENT_MIME)
            if content is not None:
                return dict(content)
    return None


def output_name(notebook: Path, parameters: Mapping[str, Any], template: str = "", *, stamp: bool = False) -> str:
    """Returns ``{lane}_{window}``, safe for file systems; other notebooks than ``rollout_window`` add their name.

    The window of a notebook with the parameter ``every`` is its whole range, by its step: ``all-by-1d``.

    Args:
        notebook: The notebook's path.
        parameters: As :func:`check_parameters` returns them.
        template: Another form, of ``{lane}``, ``{window}``, ``{notebook}`` and ``{as_of}``: the moment to judge at,
            failing that this one.
        stamp: Adds ``_{as_of}``.

    Raises:
        InputError: The template holds anything else in braces, or what file names cannot.
    """
    declared = {parameter.name: parameter.default.strip("'\"") for parameter in parameters_of(notebook)}
    values = {name: str(parameters.get(name, declared.get(name, ""))) for name in declared}
    number = values.get("last_missions", "").removeprefix("0")
    if values.get("window_label"):
        window = values["window_label"]
    elif values.get("window_start") or values.get("window_end"):
        window = f"{values.get('window_start') or 'beginning'}_{values.get('window_end') or 'open'}"
    elif "every" in declared:
        window = "all"
    else:
        window = f"last-{number or DEFAULT_LAST_MISSIONS}"
    if "every" in declared:
        window += f"-by-{f'{number}-missions' if number else values['every'] or '1d'}"
    moment = as_utc(values.get("as_of") or datetime.now(UTC), "as_of")
    fields = {"lane": values.get("vp_id") or "all", "window": window, "notebook": notebook.stem}
    fields["as_of"] = f"{moment:%Y-%m-%dT%H%M%SZ}"
    if not template:
        template = "{lane}_{window}" if "vp_id" in values else "{notebook}"
        template += "_{notebook}" if "vp_id" in values and notebook.stem != "rollout_window" else ""
    elif not re.fullmatch(rf"(?!\.)(?:[A-Za-z0-9._-]|{{(?:{'|'.join(fields)})}})+", template):
        raise InputError(
            f"--name {template!r} is not a file name: use letters, digits, '.', '_' and '-', "
            f"and of these: {', '.join(f'{{{field}}}' for field in fields)}."
        )
    template += "_{as_of}" if stamp else ""
    return template.format(**{field: safe_name(value) for field, value in fields.items()})


def safe_name(text: str) -> str:
    """Returns a text as part of a file's name: letters, digits and ``._-``.

    A short hash tells texts apart that differ only in what was replaced.
    """
    plain = re.sub(r"\s+", "-", text.strip())
    safe = re.sub(r"[^A-Za-z0-9._\-]+", "-", plain).strip("-.")[:80] or "window"
    return safe if safe == plain else f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"

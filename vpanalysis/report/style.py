"""The one style of every figure: inks for light and dark, type, sizes, and how an Axes becomes an image."""

import base64
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from vpanalysis.report.piece import FIGURE_MIME


class Ink(NamedTuple):
    """One colour as it is drawn on white, and as dark surroundings show it (both hold WCAG AA for text)."""

    light: str
    dark: str


SURFACE = Ink("#ffffff", "#14181d")
INK = Ink("#1b2430", "#e6e9ee")
MUTED = Ink("#5b6675", "#a3adba")
GRID = Ink("#dfe3e9", "#2e353e")
BLUE = Ink("#0b66b0", "#6cb6ff")
BAND = Ink("#b9d6f0", "#24476b")
ORANGE = Ink("#b8450f", "#ff9f73")
PURPLE = Ink("#77479f", "#cba6f5")
WATCH = Ink("#8f5f00", "#e5b54a")
CRITICAL = Ink("#b3261d", "#ff8d84")
_INKS = (SURFACE, INK, MUTED, GRID, BLUE, BAND, ORANGE, PURPLE, WATCH, CRITICAL)

#: Marks above this number are aggregated or rasterised: a figure's size must not grow with its missions.
DENSE = 400
WIDTH_INCHES = 8.0
_PNG_DPI = 110

_FONTS = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,'Noto Sans',sans-serif"
_SETTINGS: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED.light,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": MUTED.light,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK.light,
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titley": 1.0,  # nothing is above it: else all tick labels are measured again to make sure
    "figure.constrained_layout.use": True,
    "figure.dpi": 144,
    "figure.facecolor": SURFACE.light,
    "font.family": "DejaVu Sans",  # the widest there is: whatever font a reader has fits into its measures
    "font.size": 9,
    "grid.color": GRID.light,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "path.simplify_threshold": 0.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "vpanalysis",
    "text.color": INK.light,
    "text.parse_math": False,
    "xaxis.labellocation": "right",  # which a narrow page shows first
    "timezone": "UTC",
    "xtick.color": MUTED.light,
    "xtick.labelsize": 8.5,
    "ytick.color": MUTED.light,
    "ytick.labelsize": 8.5,
}


class ReportAxes(Axes):
    """An Axes that shows itself as an image with alternative text: SVG, in light and dark, and PNG.

    An untrusted notebook, GitHub and mail show the PNG only.

    Attributes:
        alt: The finding in words; a reader without the image misses nothing.
        empty: It says only why there is nothing to draw: a page folds it.
        facts: What a page tells where one points at a mark: its place in data coordinates, the words, and whether the
            keyboard gets there too.
        from_start: A narrow page shows it from its left end, where most of it happens.
    """

    alt: str = ""
    empty: bool = False
    facts: Sequence[tuple[Any, float, str, bool]] = ()
    from_start: bool = False

    @property
    def whole(self) -> Figure:
        """The figure of which this is the only Axes."""
        return cast(Figure, self.get_figure(root=True))

    def leave_empty(self) -> None:
        """Makes the figure as low as one that says only why there is nothing to draw."""
        self.empty = True
        self.whole.set_size_inches(WIDTH_INCHES, 0.8)

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
        figure, title = self.whole, " ".join(self.get_title(loc="left").split())
        titled = svg(figure)
        shown = {"title": title, "alt": self.alt, "empty": self.empty, "svg": _without_title(titled, self)}
        view = re.search(r'viewBox="([^"]*)"', str(shown["svg"]))
        shown |= {"view": view[1] if view else "", "axis": self._placed_ticks()}
        if self.facts:
            shown["facts"] = self._placed_facts()
        png = base64.b64encode(_png(figure)).decode()
        return (
            {FIGURE_MIME: shown, "image/svg+xml": titled, "image/png": png, "text/plain": self.alt},
            {"image/svg+xml": {"alt": self.alt}, "image/png": {"alt": self.alt}},
        )

    def _placed_ticks(self) -> dict[str, Any]:
        """The y axis of the figure drawn last: where it stands, its name, and its ticks' words, heights and inks."""
        figure = self.whole
        width, height = 72 * figure.get_size_inches()
        low, high = sorted(self.get_ylim())
        ticks = [
            (label.get_text(), float(self.transData.transform((0, at))[1]) / figure.bbox.height, str(label.get_color()))
            for labels in (self.yaxis.get_majorticklabels(), self.yaxis.get_minorticklabels())
            for label in labels
            if label.get_text() and low <= (at := label.get_position()[1]) <= high
        ]
        tones = {WATCH.light: "watch", CRITICAL.light: "critical"}
        return {
            "edge": round(float(self.get_position().x0 * width), 1),
            "name": self.get_ylabel(),
            "from_start": self.from_start,
            "ticks": [
                {"text": text, "y": round(float((1 - up) * height), 1), "tone": tones.get(ink, "quiet")}
                for text, up, ink in ticks
            ],
        }

    def _placed_facts(self) -> list[dict[str, Any]]:
        """The facts, placed in the coordinates of the figure drawn last."""
        figure = self.whole
        width, height = 72 * figure.get_size_inches()
        xs, ys, texts, reached = zip(*self.facts, strict=True)
        moments = date2num(list(xs))  # type: ignore[no-untyped-call]
        at = self.transData.transform(list(zip(moments, ys, strict=True)))
        across, up = (at / (figure.bbox.width, figure.bbox.height)).T
        return [
            {"x": round(float(x * width), 1), "y": round(float((1 - y) * height), 1), "text": text, "reached": by_key}
            for x, y, text, by_key in zip(across, up, texts, reached, strict=True)
        ]


@contextmanager
def styled() -> Iterator[None]:
    """Draws in the house style inside; restores the caller's settings after it."""
    with matplotlib.rc_context(cast(Any, _SETTINGS)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the reader's fonts will have it
        yield


def new_axes(height_inches: float) -> ReportAxes:
    """Returns the only Axes of a new figure, which no global state of pyplot knows; call it inside `styled`."""
    figure = Figure(figsize=(WIDTH_INCHES, height_inches))
    return cast(ReportAxes, figure.add_subplot(axes_class=ReportAxes))


def time_axis(ax: Axes, start: datetime | None, end: datetime | None, label: str) -> None:
    """Makes x a time axis in UTC, limited to the window where its bounds are known."""
    locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    formatter = ConciseDateFormatter(  # type: ignore[no-untyped-call]
        locator,
        formats=["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S.%f"],  # less the zeros that all labels end with
        zero_formats=["", "%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"],
        offset_formats=["", "%Y", "%Y", "%Y", "%d %b %Y", "%d %b %Y, %H:%M"],
    )
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(formatter)
    ax.xaxis.get_offset_text().set(x=0, ha="left")
    ax.set_xlabel(f"{label} (UTC)")
    if start is not None and end is not None:
        pad = max((end - start) * 0.015, timedelta(minutes=30) if start >= end else timedelta(0))
        ax.set_xlim(min(start, end) - pad, max(start, end) + pad)  # type: ignore[arg-type]


def svg(figure: Figure) -> str:
    """Returns a figure as SVG text, the same for the same figure, that follows its reader's light or dark setting."""
    file = io.StringIO()
    with styled():
        canvas: Any = FigureCanvasSVG(figure)  # `savefig` would draw once more, to lay out what drawing lays out
        canvas.print_svg(file, metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    text = file.getvalue()
    head, root = text[text.index("<svg") :].split(">", 1)
    root = re.sub(r' d="[^"]*"', _compact, root)
    rules = [f"text{{font-family:{_FONTS}!important}}", "@media screen and (prefers-color-scheme:dark){"]
    rules += ["image{filter:invert(1) hue-rotate(180deg)}"] * ("<image" in root)  # dense dots
    for ink in _INKS:
        rules += [
            f'[style*="{part}: {ink.light}"]{{{part}:{ink.dark}!important}}'
            for part in ("fill", "stroke")
            if f"{part}: {ink.light}" in root
        ]
    return f"{head}><style>{''.join(rules)}}}</style>{root}"


def _png(figure: Figure) -> bytes:
    """A figure as PNG, laid out as it was when it was drawn last: measuring its texts again costs more than drawing."""
    pixels, dpi, layout = io.BytesIO(), figure.dpi, figure.get_layout_engine()
    with styled():
        canvas: Any = FigureCanvasAgg(figure)
        figure.dpi = _PNG_DPI
        figure.set_layout_engine("none")
        try:
            canvas.print_png(pixels)
        finally:
            figure.dpi = dpi
            figure.set_layout_engine(layout)
    return pixels.getvalue()


def _compact(path: re.Match[str]) -> str:
    """A path with coordinates to a twentieth of a pixel and no line breaks: half the size, the same picture."""
    short = re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), path[0])
    return re.sub(r"\s*([MLQCz\"])\s*", r"\1", short)


def _without_title(text: str, ax: ReportAxes) -> str:
    """The figure drawn last, cut below its title: a page says the title in its own type."""
    width, height = 72 * ax.whole.get_size_inches()
    cut = max(0.0, float((1 - ax.get_position().y1) * height) - 7)
    view = f'width="{width:g}" height="{height - cut:.1f}" viewBox="0 {cut:.1f} {width:g} {height - cut:.1f}"'
    return re.sub(r'width="[^"]*" height="[^"]*" viewBox="[^"]*"', view, text, count=1)

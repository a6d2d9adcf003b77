"""The one look of every figure, and a figure's bytes."""

import contextlib
import functools
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure as Figure  # what every plot returns, for those who call them
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fer.system.escapes import escaped

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GRAY, INK = "#CC79A7", "#56B4E9", "#767676", "#222222"  # the gray is read on white and on black
COLORS = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, GRAY)  # Okabe and Ito's, less yellow (unreadable on white)
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LOOK: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#888888",
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.7,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "white",
    "savefig.dpi": 200,
    "svg.hashsalt": "fer",
}

P = ParamSpec("P")
THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")


def look(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draws with the one look, whatever the caller's rcParams, and every text that is drawn as `plain` has it.

    But for those of ticks, which are written anew whenever the figure is rendered: the plot sees to them.
    """

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _our_settings():
            figure = draw(*args, **kwargs)
        for text in figure.findobj(Text):
            if isinstance(text, Text):
                text.set_text(plain(text.get_text()))
        return figure

    return drawn


@contextlib.contextmanager
def _our_settings() -> Iterator[None]:
    """Of this look and else matplotlib's own, not those of a matplotlibrc."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(LOOK)
        yield


def plain(text: str) -> str:
    """Text from outside, on one line or several, that matplotlib draws and does not read: `$` begins no formula.

    Of a line as long as a figure is wide the beginning, as a title that leads out of it leaves the axes no room.
    """
    return "\n".join(short(line, 110) for line in text.split("\n")).replace("$", r"\$")


def short(name: str, most: int = 20) -> str:
    """A name on one line; of one with more than `most` characters the beginning, to leave room for what is drawn."""
    shown = escaped(name)
    return shown if len(shown) <= most else f"{shown[:most]}…"


def short_names(names: Sequence[str], most: int = 20) -> list[str]:
    """Names as `short` has them; of those that would then look alike the beginning and the end."""
    cut = [short(name, most) for name in names]
    end = most // 2 - 2
    return [
        name if cut.count(name) == 1 or escaped(whole) == name else f"{name[: most - end]}…{escaped(whole)[-end:]}"
        for name, whole in zip(cut, names, strict=True)
    ]


def render(figure: Figure, kind: str) -> bytes:
    """The bytes of a figure as "png" or "svg", without a date: equal figures give equal bytes.

    The first rendering lays the figure out, later ones keep that.
    """
    buffer = io.BytesIO()
    with _our_settings(), warnings.catch_warnings():
        # A box stands for a character of a script that the font lacks; the page has the text itself.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
        figure.set_layout_engine("none")
    return buffer.getvalue()


def canvas(ax: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """The figure and axes to draw on: those given, or new ones of that size in inches."""
    if ax is None:
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.add_subplot()
    parent = ax.get_figure(root=True)
    if parent is None:
        raise ValueError("ax belongs to no figure")
    return parent, ax


def whole_numbers(axis: Axis, count: int = 9) -> None:
    """Ticks of an axis that counts: at most so many, none between two whole numbers."""
    axis.set_major_locator(MaxNLocator(count, integer=True, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(THOUSANDS)


def legend_above(ax: Axes, columns: int | None = None) -> int:
    """A legend on top of the axes, where it lies on no line; returns its rows, none where nothing has a label.

    There are as many columns as an axes of a whole figure has room for, at most three.
    """
    labels = ax.get_legend_handles_labels()[1]
    if not labels:
        return 0
    columns = columns or max(1, min(3, 80 // (max(map(len, labels)) + 5)))
    place: Any = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 0.2, "borderpad": 0}
    ax.legend(ncols=columns, **place)
    return -(-len(labels) // columns)


def title_above(ax: Axes, title: str, rows: int) -> None:
    """The title of axes, over a legend of so many rows."""
    ax.set_title(title, pad=8 + 16 * rows)

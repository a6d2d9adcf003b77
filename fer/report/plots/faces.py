"""Sheets of small pictures: faces by the mistake made, what the net looks at, its filters, a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fer.report.plots.look import GRAY, ORANGE, look, plain, short
from fer.report.plots.scores import Mistake
from fer.system.plural import counted

Picture = NDArray[np.uint8]
"""uint8 [H,W], or [H,W,3] red, green, blue."""
_INCHES = 7.2  # wide
_FEW = 6  # faces of one kind of mistake


@dataclass(frozen=True)
class Confusion:
    """A pair of classes that were confused: how often, its share of the true class, and faces."""

    true: str
    predicted: str
    count: int
    share: float
    mistakes: Sequence[Mistake]


@dataclass(frozen=True)
class Seen:
    """A face, what the net answered, and where it looked.

    occlusion  float [H,W], the drop of the probability where it is covered; grad_cam float [H,W], 0 to 1, or None
    """

    image: Picture
    true: str
    predicted: str
    probability: float
    occlusion: NDArray[np.float32]
    grad_cam: NDArray[np.float32] | None


class _Sheet:
    """One axes in units of a picture's side, row 0 on top: quick to draw where a hundred axes are not."""

    def __init__(self, columns: float, rows: float, title: str):
        self.unit = _INCHES / columns
        self.figure = Figure(figsize=(_INCHES, 0.35 + rows * self.unit))
        top = 1 - 0.32 / self.figure.get_size_inches()[1]
        self.ax: Axes = self.figure.add_axes((0, 0, 1, top))
        self.ax.set(xlim=(0, columns), ylim=(rows, 0))
        self.ax.axis("off")
        self.figure.suptitle(title, x=0.01, y=1 - 0.06 / self.figure.get_size_inches()[1], va="top", ha="left",
                             fontsize=9.5, color=GRAY)  # fmt: skip
        self.figure.patch.set_alpha(0.0)  # photographs cannot be turned dark with a page; the paper they lie on can

    def picture(self, image: NDArray[Any], x: float, y: float, side: float, **style: Any) -> None:
        """Its left upper corner at x, y."""
        height, width = image.shape[:2]
        scale = side / max(height, width)
        extent = (x, x + width * scale, y + height * scale, y)
        gray: Any = {"cmap": "gray", "vmin": 0, "vmax": 255} if image.ndim == 2 else {}
        self.ax.imshow(image, extent=extent, aspect="auto", **({"interpolation": "nearest"} | gray | style))

    def text(self, text: str, x: float, y: float, size: float = 6.5, **style: Any) -> None:
        ours: Any = {"fontsize": size, "color": GRAY, "va": "baseline", "linespacing": 1.15}
        self.ax.text(x, y, plain(text), **(ours | style))


@look
def plot_confusions(confusions: Sequence[Confusion], title: str) -> Figure:
    """A row for each pair, six faces in it; a frame around those whose label is in doubt."""
    sheet = _Sheet(_FEW + 1.25, 1.27 * len(confusions), title)
    for row, each in enumerate(confusions):
        y = 1.27 * row + 0.06
        share = f"{counted(each.count, 'image')},\n{100 * each.share:.0f}% of {short(each.true, 12)}"
        sheet.text(f"{short(each.true, 14)} →\n{short(each.predicted, 14)}", 0.08, y, 8.5, va="top")
        sheet.text(share, 0.08, y + 0.42, 7, va="top")
        for column, mistake in enumerate(each.mistakes[:_FEW]):
            x = 1.3 + column
            sheet.picture(mistake.image, x, y, 0.92)
            words = f"{100 * mistake.probability:.0f}%  {short(mistake.file, 10)}"
            if mistake.doubted:
                frame: Any = {"fill": False, "edgecolor": ORANGE, "linewidth": 1.6}
                sheet.ax.add_patch(mpl.patches.Rectangle((x, y), 0.92, 0.92, **frame))
            sheet.text(words + "\nlabel in doubt" * mistake.doubted, x, y + 0.95, 6, va="top")
    return sheet.figure


@look
def plot_maps(faces: Sequence[Seen], title: str) -> Figure:
    """Each face, and beside it where covering it costs the answer most, and Grad-CAM where there is some."""
    each = 3 if any(face.grad_cam is not None for face in faces) else 2
    across = min(len(faces), 3 if each == 3 else 4)
    places = _places([face.true for face in faces], across)
    gap = 0.25
    sheet = _Sheet(across * (each + gap), 1.3 * (places[-1][0] + 1), title)
    for (row, column), face in zip(places, faces, strict=True):
        x, y = column * (each + gap) + gap / 2, 1.3 * row + 0.04
        mark = "" if face.true == face.predicted else f" (is {short(face.true, 12)})"
        sheet.text(f"{short(face.predicted, 12)}{mark} {100 * face.probability:.0f}%", x, y + 0.15, 7)
        y += 0.22
        sheet.picture(face.image, x, y, 0.97)
        largest = max(float(np.abs(face.occlusion).max()), 0.05)
        sheet.picture(_over(face.image, face.occlusion / largest, "RdBu_r"), x + 1, y, 0.97)
        badge: Any = {"ha": "right", "va": "bottom", "color": "white"}
        badge["bbox"] = {"facecolor": "#000000A0", "edgecolor": "none", "pad": 0.8}
        sheet.text(f"−{100 * max(0.0, float(face.occlusion.max())):.0f}", x + 1.94, y + 0.93, 6, **badge)
        if face.grad_cam is not None:
            sheet.picture(_over(face.image, face.grad_cam, "inferno"), x + 2, y, 0.97)
    return sheet.figure


def _places(names: Sequence[str], across: int) -> list[tuple[int, int]]:
    """Row and column of each; where most classes have several, each begins a row."""
    several = len(names) > 1.5 * len(set(names))
    places: list[tuple[int, int]] = []
    row = column = 0
    for index, name in enumerate(names):
        if column == across or (several and index and name != names[index - 1]):
            row, column = row + 1, 0
        places.append((row, column))
        column += 1
    return places


def _over(image: Picture, values: NDArray[np.float32], name: str) -> Picture:
    """A map from -1 to 1 over a face: the stronger it is, the more it covers."""
    colors = mpl.colormaps[name]((values + 1) / 2 if name == "RdBu_r" else values)[..., :3]
    face = np.broadcast_to(image if image.ndim == 3 else image[..., None], (*image.shape[:2], 3)) / 255
    weight = 0.75 * np.abs(values)[..., None]
    return np.asarray((255 * ((1 - weight) * face + weight * colors)).clip(0, 255), np.uint8)


@look
def plot_tiles(pictures: Sequence[Picture], labels: Sequence[str], title: str, columns: int = 8) -> Figure:
    """Pictures in rows, each with a label below it, or none of them."""
    step = 1.2 if labels else 1.06
    sheet = _Sheet(columns, step * max(1, -(-len(pictures) // columns)), title)
    for number, picture in enumerate(pictures):
        x, y = number % columns + 0.03, step * (number // columns) + 0.03
        sheet.picture(picture, x, y, 0.94)
        if labels:
            sheet.text(short(labels[number], 14), x, y + 1.06, 6)
    return sheet.figure

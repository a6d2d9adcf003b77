"""Figures of a split's scores: confusion, ROC, per-class bars, mistakes; and the data's class counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from fer.evaluation.metrics import Metrics
from fer.report.plots.look import (
    BLUE,
    COLORS,
    DASHES,
    GRAY,
    GREEN,
    INK,
    ORANGE,
    canvas,
    legend_above,
    look,
    plain,
    short,
    short_names,
    title_above,
    whole_numbers,
)

_BESIDE = 22
_WRITTEN = 12  # classes; of more a confusion matrix has no numbers in its cells, and what bars show is dots
_LISTED = 10  # classes that the legend of the ROC curves has room for


def _size(count: int) -> float:
    """Of the names of so many classes, in points."""
    return 8.5 if count <= _WRITTEN else 7 if count <= 40 else 5.5


@dataclass(frozen=True)
class Mistake:
    """An image the net got wrong: uint8 [H,W], the classes' names, the probability it gave the wrong one; whether its
    label is in doubt."""

    image: NDArray[np.uint8]
    true: str
    predicted: str
    probability: float
    file: str
    doubted: bool = False


def _names(metrics: Metrics) -> list[str]:
    """The classes, as labels have room for them."""
    return [plain(name) for name in short_names([each.name for each in metrics.classes])]


@look
def plot_confusion(metrics: Metrics, title: str, *, normalised: bool = False, ax: Axes | None = None) -> Figure:
    """Rows are the true classes, columns the predicted; the shade is the share of the row, so that rare classes show.

    Written in the cells, of up to twelve classes: counts, or with `normalised` the share of the row in percent. A class
    without images is blank.
    """
    count = len(metrics.classes)
    more = max(0.0, 0.5 * (count - 8) if count <= _WRITTEN else 1.0 + 0.06 * count)
    figure, ax = canvas(ax, 5.4 + more, 4.6 + more)
    names = _names(metrics)
    totals = metrics.confusion.sum(axis=1, keepdims=True)
    shares = np.where(totals > 0, metrics.confusion / np.maximum(totals, 1), np.nan)
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        if np.isfinite(share) and count <= _WRITTEN:
            text = f"{100 * share:.1f}" if normalised else f"{metrics.confusion[row, column]:,}"
            weight = "bold" if row == column else "normal"
            color = "white" if share > 0.55 else INK
            ax.text(column, row, text, ha="center", va="center", color=color, fontsize=8.5, fontweight=weight)
    turned: Any = {"rotation": 35, "rotation_mode": "anchor"} if count <= _WRITTEN else {"rotation": 90}
    ax.set_xticks(range(count), names, fontsize=_size(count), ha="right" if count <= _WRITTEN else "center", **turned)
    ax.set_yticks(
        range(count),
        [f"{name} ({c.support:,})" for name, c in zip(names, metrics.classes, strict=True)],
        fontsize=_size(count),
    )
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class (images)")
    ax.grid(visible=False)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=ax, shrink=0.85, aspect=30, format=PercentFormatter(1.0, decimals=0))
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)
    ax.set_title(title, x=-0.3 if count <= _WRITTEN else -0.1)
    return figure


@look
def plot_roc(metrics: Metrics, title: str, ax: Axes | None = None) -> Figure:
    """Each class against the rest, and the macro and micro averages; the legend gives the areas.

    Of more than ten classes it has the five of the smallest areas and the five of the largest; the others are gray.
    """
    figure, ax = canvas(ax, 5.2, 5.2)
    areas = sorted((each.roc.auc, index) for index, each in enumerate(metrics.classes) if each.roc is not None)
    half = _LISTED // 2
    listed = sorted(index for _, index in (areas if len(areas) <= _LISTED else areas[:half] + areas[-half:]))
    ax.plot([0, 1], [0, 1], color="#BBBBBB", linewidth=0.8)
    for index, (name, each) in enumerate(zip(_names(metrics), metrics.classes, strict=True)):
        if each.roc is not None:
            rates = each.roc.false_positive_rate, each.roc.true_positive_rate
            if index not in listed:
                ax.plot(*rates, color="#D0D0D0", linewidth=0.5, zorder=1.5)
                continue
            place = listed.index(index)
            style: Any = {
                "color": COLORS[place % len(COLORS)],
                "linestyle": DASHES[place % len(DASHES)],
                "linewidth": 1.2,
            }
            ax.plot(*rates, **style, label=f"{name}  {each.roc.auc:.3f}")
    for curve, name, dash in ((metrics.roc_macro, "macro", "--"), (metrics.roc_micro, "micro", ":")):
        if curve is not None:
            rates = curve.false_positive_rate, curve.true_positive_rate
            ax.plot(*rates, color="black", linestyle=dash, linewidth=1.8, label=f"{name} average  {curve.auc:.3f}")
    ax.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.01, 1), ylim=(0, 1.01), aspect="equal")
    heading = "area under the curve" + f"\n{half} smallest and {half} largest of {len(areas)}" * (len(areas) > _LISTED)
    corner: Any = {"loc": "lower right", "frameon": True, "framealpha": 0.85, "edgecolor": "none"}
    ax.legend(title=heading, alignment="left", title_fontsize=8.5, handlelength=2.6, **corner)
    ax.set_title(title)
    return figure


@look
def plot_class_bars(metrics: Metrics, title: str, ax: Axes | None = None) -> Figure:
    """Precision, recall and F1 of each class, in percent above the bars; what is undefined has no bar."""
    if len(metrics.classes) > _WRITTEN:
        return _class_dots(metrics, title, ax)
    figure, ax = canvas(ax, 5.8 + max(0.0, 0.7 * (len(metrics.classes) - 8)), 3.8)
    width = 0.27
    kinds = (("precision", BLUE, ""), ("recall", ORANGE, "////"), ("f1", GREEN, "...."))
    for offset, (kind, color, hatch) in zip((-width, 0.0, width), kinds, strict=True):
        values = [getattr(each, kind) for each in metrics.classes]
        known = [(index + offset, value) for index, value in enumerate(values) if value is not None]
        style: Any = {"color": color, "hatch": hatch, "edgecolor": "white", "linewidth": 0}
        bars = ax.bar([x for x, _ in known], [y for _, y in known], width * 0.94, label=kind.capitalize(), **style)
        ax.bar_label(bars, [f"{100 * y:.0f}" for _, y in known], fontsize=7, padding=1.5)
    ax.set_xticks(
        range(len(metrics.classes)),
        [f"{name}\n{c.support:,}" for name, c in zip(_names(metrics), metrics.classes, strict=True)],
    )
    ax.tick_params(axis="x", length=0)
    ax.grid(visible=False, axis="x")
    ax.set_ylim(0, 1.05)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    title_above(ax, title, legend_above(ax))
    return figure


def _class_dots(metrics: Metrics, title: str, ax: Axes | None) -> Figure:
    """The same of many classes: a row each."""
    count = len(metrics.classes)
    figure, ax = canvas(ax, 5.8, 1.2 + 0.13 * count)
    for kind, color, mark in (("precision", BLUE, "o"), ("recall", ORANGE, "s"), ("f1", GREEN, "^")):
        known = [(value, row) for row, each in enumerate(metrics.classes) if (value := getattr(each, kind)) is not None]
        ax.plot([x for x, _ in known], [y for _, y in known], mark, color=color, markersize=3, label=kind.capitalize())
    names = [f"{name} ({c.support:,})" for name, c in zip(_names(metrics), metrics.classes, strict=True)]
    ax.set_yticks(range(count), names, fontsize=_size(count))
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(-0.01, 1.01), ylim=(count - 0.3, -0.7))
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    title_above(ax, title, legend_above(ax))
    return figure


@look
def plot_mistakes(mistakes: Sequence[Mistake], title: str, columns: int = 6) -> Figure:
    """A contact sheet: "true -> predicted", the probability of the wrong class, the file."""
    rows = max(1, -(-len(mistakes) // columns))
    parted = any(len(mistake.true) + len(mistake.predicted) > _BESIDE for mistake in mistakes)  # on a line each
    names = sorted({name for mistake in mistakes for name in (mistake.true, mistake.predicted)})
    shown = dict(zip(names, short_names(names, 18), strict=True))
    figure = Figure(figsize=(7.2, 0.45 + (1.56 if parted else 1.44) * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, mistake in zip(axes.flat, mistakes, strict=False):
        ax.imshow(mistake.image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        ax.set_title(
            f"{shown[mistake.true]}{chr(10) if parted else ' '}→ {shown[mistake.predicted]}\n"
            f"{100 * mistake.probability:.1f}%  {short(mistake.file)}",
            fontsize=7,
            color=GRAY,
            loc="center",
            pad=3,
        )
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, color=GRAY)
    figure.patch.set_alpha(0.0)  # photographs cannot be turned dark with a page; the paper they lie on can
    return figure


@look
def plot_class_counts(counts: Mapping[str, Sequence[int]], classes: Sequence[str], title: str) -> Figure:
    """Images by class: a panel for each split, each with its own scale (Training is eight times the others)."""
    figure = Figure(
        figsize=(7.0, max(2.9, 1.0 + 0.18 * min(len(classes), 12), 1.0 + 0.13 * len(classes))), layout="constrained"
    )
    axes = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    for ax, (split, values) in zip(axes, counts.items(), strict=True):
        bars = ax.barh(range(len(classes)), values, color=BLUE, height=0.72)
        total = max(1, sum(values))
        labels = [f"{value:,} ({100 * value / total:.0f}%)" for value in values]
        ax.bar_label(bars, labels, fontsize=min(7, _size(len(classes))), padding=2)
        ax.set_xlim(0, max(1, *values) * 1.48)
        ax.set_yticks(range(len(classes)), [plain(name) for name in short_names(classes)], fontsize=_size(len(classes)))
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0)
        whole_numbers(ax.xaxis, 4)
        ax.set_title(f"{split}: {sum(values):,}", fontsize=8.5)
    axes[0].set_ylim(len(classes) - 0.4, -0.6)
    figure.supxlabel("images", fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5)
    return figure

"""Figures of confidence and of classes over time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from fer.evaluation.calibration import BINS, Calibration
from fer.report.curves import Series
from fer.report.plots.look import (
    BLUE,
    COLORS,
    DASHES,
    MARKERS,
    RED,
    canvas,
    legend_above,
    look,
    short,
    title_above,
    whole_numbers,
)

FEW = 10  # images of a bin that are too few to tell
_LISTED = 10  # classes that a legend has room for


@look
def plot_calibration(before: Calibration, after: Calibration, temperature: float, title: str) -> Figure:
    """Accuracy by confidence, as trained and at the temperature fitted on val; below how many images there are."""
    figure = Figure(figsize=(6.8, 4.4), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3.4, 1))
    names = ("as trained", f"at temperature {temperature:.2f}, fitted on val")
    for (top, bottom), name, found in zip(axes.T, names, (before, after), strict=True):
        _draw_reliability(top, found)
        top.set_title(f"{name}\nexpected calibration error {100 * found.error:.1f}%")
        middles = (np.arange(BINS) + 0.5) / BINS
        bottom.bar(middles, found.counts, 0.94 / BINS, color="#888888", linewidth=0)
        bottom.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        bottom.set_xlabel("confidence")
        whole_numbers(bottom.yaxis, 3)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    few = Patch(color=BLUE, alpha=0.3, linewidth=0)
    shown = [handles[0], few, handles[-1]], [labels[0], f"of fewer than {FEW} images", labels[-1]]
    figure.legend(*shown, loc="outside lower center", ncols=3)
    axes[0, 0].set_ylabel("accuracy")
    axes[1, 0].set_ylabel("images")
    for ax in axes[1]:
        ax.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
        ax.get_xticklabels()[0].set_ha("left")
        ax.get_xticklabels()[-1].set_ha("right")
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5)
    figure.align_ylabels()
    return figure


def _draw_reliability(ax: Axes, found: Calibration) -> None:
    known = found.counts > 0
    middles = ((np.arange(BINS) + 0.5) / BINS)[known]
    confidence, accuracy = found.confidence[known], found.accuracy[known]
    for kept, alpha in ((found.counts[known] >= FEW, 1.0), (found.counts[known] < FEW, 0.3)):
        ax.bar(middles[kept], accuracy[kept], 0.94 / BINS, color=BLUE, linewidth=0, alpha=alpha, label="accuracy")
    gap: Any = {"facecolor": "none", "edgecolor": RED, "hatch": "////", "linewidth": 0.6}
    ax.bar(middles, confidence - accuracy, 0.94 / BINS, bottom=accuracy, label="gap to the confidence", **gap)
    ax.plot([0, 1], [0, 1], color="#888888", linewidth=0.8)
    ax.set(xlim=(0, 1), ylim=(0, 1.02))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


@look
def plot_recalls(recalls: Sequence[tuple[str, Series]], title: str, ax: Axes | None = None) -> Figure:
    """Each class's recall against iterations, of the snapshots that were scored.

    Of more than ten classes the five lowest and the five highest at the end are named; the others are gray.
    """
    figure, ax = canvas(ax, 6.4, 3.8)
    order = sorted(range(len(recalls)), key=lambda i: -np.nan_to_num(recalls[i][1].values[-1], nan=-1.0))
    half = _LISTED // 2
    listed = order if len(order) <= _LISTED else order[:half] + order[-half:]
    for index, (_, series) in enumerate(recalls):
        if index not in listed:
            ax.plot(series.iterations, series.values, color="#D0D0D0", linewidth=0.5, zorder=1.5)
    for index in listed:
        name, series = recalls[index]
        place = listed.index(index)
        ax.plot(
            series.iterations,
            series.values,
            color=COLORS[place % len(COLORS)],
            linestyle=DASHES[place % len(DASHES)],
            marker=MARKERS[place % len(MARKERS)],
            markersize=3.5,
            linewidth=1.2,
            label=f" {short(name)}",
        )
    ax.set(xlabel="iterations", ylabel="recall", ylim=(-0.02, 1.02))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    whole_numbers(ax.xaxis)
    title_above(ax, title, legend_above(ax, 4 if len(listed) > 3 else None))
    return figure

"""Figures of a training run: learning rate, losses, val accuracy, against iterations; one run or several."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, PercentFormatter

from fer.report.curves import Curves, Series, SnapshotAccuracies, smooth
from fer.report.plots.look import (
    BLUE,
    COLORS,
    DASHES,
    GRAY,
    GREEN,
    INK,
    MARKERS,
    PLAIN,
    PURPLE,
    RED,
    canvas,
    legend_above,
    look,
    short,
    title_above,
    whole_numbers,
)

FEW = 30  # points of a line that are worth a mark each


@look
def plot_learning_rate(curves: Curves, title: str, ax: Axes | None = None) -> Figure:
    figure, ax = canvas(ax, 6.4, 3.0)
    _draw_lr(ax, curves)
    _iterations(ax, curves)
    ax.set_title(title)
    return figure


@look
def plot_training_loss(curves: Curves, title: str, ax: Axes | None = None) -> Figure:
    """The displayed loss, raw and smoothed."""
    figure, ax = canvas(ax, 6.4, 3.4)
    _draw_train_loss(ax, curves)
    title_above(ax, title, legend_above(ax))
    _iterations(ax, curves)
    return figure


@look
def plot_validation(curves: Curves, title: str, *, accuracies: SnapshotAccuracies | None = None) -> Figure:
    """Accuracy and loss on val, one above the other; each snapshot's own accuracy as a dot, the chosen one ringed."""
    rows = [len(curves.accuracy) > 0 or accuracies is not None, len(curves.test_loss) > 0]
    figure = Figure(figsize=(6.4, 0.6 + 2.5 * max(1, sum(rows))), layout="constrained")
    axes = figure.subplots(max(1, sum(rows)), 1, sharex=True, squeeze=False)[:, 0]
    if rows[0]:
        _draw_accuracy(axes[0], curves, accuracies)
    if rows[1]:
        _draw_test_loss(axes[-1], curves)
    _iterations(axes[-1], curves)
    _title(figure, title)
    figure.align_ylabels()
    return figure


@look
def plot_overview(curves: Curves, title: str, *, accuracies: SnapshotAccuracies | None = None) -> Figure:
    """Learning rate, losses and val accuracy above each other: what the rate did to the other two."""
    figure = Figure(figsize=(6.4, 7.2), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    _draw_lr(top, curves)
    _draw_train_loss(middle, curves)
    if len(curves.test_loss):
        _line(middle, curves.test_loss, RED, f"{curves.held_out} loss", DASHES[1])
    legend_above(middle)
    _draw_accuracy(bottom, curves, accuracies)
    for ax in (middle, bottom):
        _mark_collapse(ax, curves)
    _iterations(bottom, curves)
    _title(figure, title)
    figure.align_ylabels()
    return figure


@look
def plot_overlay(runs: Sequence[tuple[str, Curves]], title: str) -> Figure:
    """Several runs over each other: training loss (smoothed), val loss, val accuracy."""
    figure = Figure(figsize=(6.4, 7.4), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    for index, (name, curves) in enumerate(runs):
        color, dash = COLORS[index % len(COLORS)], DASHES[index % len(DASHES)]
        mark = MARKERS[index % len(MARKERS)]
        for ax, series in zip(axes, (smooth(curves.loss)[0], curves.test_loss, curves.accuracy), strict=True):
            _line(ax, series, color, _label(name), dash, mark, marks=8)
    for ax, label in zip(axes, ("training loss, smoothed", "val loss", "val accuracy"), strict=True):
        ax.set_ylabel(label)
        _robust_loss(ax, [curves for _, curves in runs]) if "loss" in label else _percent(ax)
    _share_iterations(axes[-1], [curves for _, curves in runs])
    handles, labels = axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(runs)), handlelength=3.2)
    _title(figure, title)
    figure.align_ylabels()
    return figure


@look
def plot_side_by_side(runs: Sequence[tuple[str, Curves]], title: str) -> Figure:
    """A column for each run: learning rate, losses, val accuracy; a row shares its scale."""
    figure = Figure(figsize=(max(6.4, 0.6 + 2.6 * len(runs)), 6.2), layout="constrained")
    axes = figure.subplots(3, len(runs), sharex="col", sharey="row", squeeze=False)
    for column, (name, curves) in zip(axes.T, runs, strict=True):
        _line(column[0], curves.lr, INK, "learning rate")
        _line(column[1], smooth(curves.loss)[0], BLUE, "training, smoothed")
        _line(column[1], curves.test_loss, RED, "val", DASHES[1])
        _line(column[2], curves.accuracy, GREEN, "val accuracy")
        for ax in column:
            _mark_collapse(ax, curves)
        _iterations(column[2], curves)
        whole_numbers(column[2].xaxis, 3)
        column[0].set_title(short(name, 40))
    for ax, label in zip(axes[:, 0], ("learning rate", "loss", "val accuracy"), strict=True):
        ax.set_ylabel(label)
    _scale_lr(axes[0, 0], [curves for _, curves in runs])
    _robust_loss(axes[1, 0], [curves for _, curves in runs])
    _percent(axes[2, 0])
    legend_above(axes[1, 0], 2)
    figure.align_ylabels()
    _title(figure, title)
    return figure


def _line(
    ax: Axes, series: Series, color: str, label: str, dash: Any = "-", mark: str = "o", marks: int = 0, **style: Any
) -> None:
    """A line with a mark at each of a few points, and at every point that has no neighbour to be joined to.

    Of many points so many `marks` are drawn beside.
    """
    known = np.isfinite(series.values)
    joined = np.r_[False, known[:-1]] | np.r_[known[1:], False] if len(known) else known
    marked = known if known.sum() < FEW else known & ~joined
    if marks:
        marked = marked | (np.arange(len(known)) % max(1, len(known) // marks) == 0)
    if marked.any():
        style |= {"marker": mark, "markersize": 3.5, "markevery": np.flatnonzero(marked).tolist()}
    ax.plot(series.iterations, series.values, color=color, linestyle=dash, label=label, **style)


def _draw_lr(ax: Axes, curves: Curves) -> None:
    _line(ax, curves.lr, INK, "learning rate")
    ax.set_ylabel("learning rate")
    _scale_lr(ax, [curves])
    _mark_collapse(ax, curves, text=True)


def _scale_lr(ax: Axes, runs: Sequence[Curves]) -> None:
    """Logarithmic where rates differ by more than 20 times, down to a millionth of the largest and not to 1e-300."""
    values = np.concatenate([curves.lr.values for curves in runs])
    positive = values[np.isfinite(values) & (values > 0)]
    if len(positive) and positive.max() > 20 * np.nanmin(values):
        _logarithmic(ax)
        ax.set_ylim(max(positive.min() / 2, positive.max() * 1e-6), positive.max() * 2)
    elif len(positive):
        ax.set_ylim(0, positive.max() * 1.15)


def _mark_collapse(ax: Axes, curves: Curves, *, text: bool = False) -> None:
    """Where the rate falls below 1% of its start, if it does so early."""
    if curves.early_collapse is None:
        return
    ax.axvline(curves.early_collapse, color=RED, linewidth=1, linestyle=(0, (3, 2)))
    if text:
        ax.annotate(
            f"below 1% of its start\nafter {curves.early_collapse:,} iterations",
            (curves.early_collapse, 0.97),
            xycoords=("data", "axes fraction"),
            xytext=(5, 0),
            textcoords="offset points",
            ha="left",
            va="top",
            color=RED,
            fontsize=8.5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )


def _draw_train_loss(ax: Axes, curves: Curves) -> None:
    smoothed, window = smooth(curves.loss)
    if window == 1:
        _line(ax, curves.loss, BLUE, "training loss")
    else:
        _line(ax, curves.loss, BLUE, "training loss, as logged", mark="", linewidth=0.7, alpha=0.45)
        _line(ax, smoothed, BLUE, f"training loss, mean of {window} lines")
    if curves.diverged is not None:
        ax.axvline(curves.diverged, color=PURPLE, linewidth=1, label=f"not finite from {curves.diverged:,}")
    ax.set_ylabel("loss")
    _robust_loss(ax, [curves])


def _draw_test_loss(ax: Axes, curves: Curves) -> None:
    _line(ax, curves.test_loss, RED, f"{curves.held_out} loss", DASHES[1])
    ax.set_ylabel(f"{curves.held_out} loss")
    _robust_loss(ax, [curves])


def _draw_accuracy(ax: Axes, curves: Curves, accuracies: SnapshotAccuracies | None) -> None:
    if len(curves.accuracy):
        _line(ax, curves.accuracy, GREEN, "in training")
    if accuracies is not None:
        for series, mark, label in (
            (accuracies.snapshots, "o", "of each snapshot"),
            (accuracies.averages, "D", "of averages"),
        ):
            if len(series):
                ax.plot(
                    series.iterations, series.values, mark, color=INK, markersize=3.5, label=f"centre crop, {label}"
                )
        ring: dict[str, Any] = {
            "markersize": 9,
            "markerfacecolor": "none",
            "markeredgecolor": RED,
            "markeredgewidth": 1.4,
        }
        chosen, baseline = accuracies.chosen, accuracies.majority_baseline
        ax.plot([chosen.iteration], [chosen.accuracy], "o", label=f"chosen: {chosen.name}", **ring)
        if chosen.ten_crop is not None:
            ax.plot([chosen.iteration], [chosen.ten_crop], "*", color=RED, markersize=7, label="chosen, ten-crop")
        ax.axhline(baseline, color=GRAY, linewidth=1, linestyle=(0, (1.5, 1.5)), label="always the commonest class")
    ax.set_ylabel(f"{curves.held_out} accuracy")
    _percent(ax)
    legend_above(ax)


def _percent(ax: Axes) -> None:
    """Percent, over at least ten points: a flat curve should look flat."""
    low, high = ax.get_ylim()
    if high - low < 0.1:
        middle = (low + high) / 2
        low, high = max(middle - 0.05, 0.0), min(max(middle + 0.05, 0.1), 1.02)
        ax.set_ylim(low, high)
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))  # no 22.5%, which would be written 22%
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _robust_loss(ax: Axes, runs: Sequence[Curves]) -> None:
    """A logarithmic scale where a loss explodes, so that the rest stays readable."""
    values = np.concatenate([series.values for curves in runs for series in (curves.loss, curves.test_loss)])
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > 30 * np.median(values):
        _logarithmic(ax)


def _logarithmic(ax: Axes) -> None:
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(PLAIN)
    ax.yaxis.set_minor_formatter(NullFormatter())


def _iterations(ax: Axes, curves: Curves) -> None:
    _share_iterations(ax, [curves])


def _share_iterations(ax: Axes, runs: Sequence[Curves]) -> None:
    """From the start to the last end, and a little to either side, so that no point lies on the edge."""
    end = max([1, *(curves.last for curves in runs)])
    ax.set_xlabel("iterations")
    ax.set_xlim(-0.015 * end, 1.015 * end)
    whole_numbers(ax.xaxis)


def _title(figure: Figure, title: str) -> None:
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5)


def _label(name: str) -> str:
    """For a legend, which leaves out what begins with an underscore."""
    return f" {short(name, 60)}" if name.startswith("_") else short(name, 60)

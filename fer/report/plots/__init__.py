"""The report's figures, one look: titles name the net, the split and the data.

Every function takes computed values and a title, draws on `ax` where that makes sense, and returns the Figure; none
reads or saves a file. ``render`` turns a Figure into the bytes of a PNG or SVG, equal figures into equal bytes.
"""

from matplotlib.figure import Figure

from fer.report.plots.look import render
from fer.report.plots.scores import Mistake, plot_class_bars, plot_class_counts, plot_confusion, plot_mistakes, plot_roc
from fer.report.plots.training import (
    plot_learning_rate,
    plot_overlay,
    plot_overview,
    plot_side_by_side,
    plot_training_loss,
    plot_validation,
)

__all__ = [
    "Figure",
    "Mistake",
    "plot_class_bars",
    "plot_class_counts",
    "plot_confusion",
    "plot_learning_rate",
    "plot_mistakes",
    "plot_overlay",
    "plot_overview",
    "plot_roc",
    "plot_side_by_side",
    "plot_training_loss",
    "plot_validation",
    "render",
]

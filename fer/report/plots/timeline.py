"""The figure of a video: the probabilities of its faces over time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fer.report.plots.look import COLORS, GRAY, look, plain, short

PANELS = 8
"""So many faces at most have a panel, those in most frames."""
POINTS = 2000
"""So many points at most are drawn of a face: means over equal stretches of its frames."""
TITLE = 60
"""Of a longer title the end is drawn, as of a path."""


@dataclass
class Track:
    """A face that was followed: seconds [N], and the probabilities [N][K] there."""

    number: int
    seconds: list[float] = field(default_factory=list)
    probabilities: list[list[float]] = field(default_factory=list)


@look
def plot_timeline(tracks: Sequence[Track], classes: Sequence[str], title: str, gap: float = 0.5) -> Figure:
    """A panel for each face: the probabilities of the classes, stacked; blank where it is out of sight for `gap` s."""
    shown = sorted(sorted(tracks, key=lambda track: -len(track.seconds))[:PANELS], key=lambda track: track.number)
    rows = max(len(shown), 1)
    figure = Figure(figsize=(7.2, 1.1 + 1.15 * rows), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    colors: list[Any] = list(COLORS[: len(classes)])
    if len(classes) > len(COLORS):
        colors = [mpl.colormaps["turbo"](share) for share in np.linspace(0, 1, len(classes))]
    for ax, track in zip(axes, shown, strict=False):
        for seconds, shares in _stretches(track, gap):
            ax.stackplot(seconds, shares.T, colors=colors, linewidth=0)
        ax.margins(x=0)
        ax.set(ylim=(0, 1), ylabel=f"face {track.number}")
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if not shown:
        axes[0].text(0.5, 0.5, "no face was found", ha="center", color=GRAY, transform=axes[0].transAxes)
        axes[0].set_yticks([])
    axes[-1].set_xlabel("seconds")
    if shown:
        handles = [axes[0].fill_between([], [], color=color) for color in colors]
        names = [plain(short(name)) for name in classes]
        figure.legend(handles, names, loc="outside lower left", ncols=7, columnspacing=1.0, handlelength=1.0)
    more = f" ({len(tracks) - len(shown)} more faces in fewer frames)" if len(tracks) > len(shown) else ""
    title = title if len(title) <= TITLE else f"...{title[-TITLE:]}"
    figure.suptitle(f"{title}{more}", x=0.01, ha="left", fontsize=9.5)
    return figure


def _stretches(track: Track, gap: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Seconds [n] and probabilities [n, K] of each stretch without a gap, thinned out to POINTS in all."""
    seconds, shares = np.array(track.seconds), np.array(track.probabilities)
    together = -(-len(seconds) // POINTS)
    parts = []
    for part in np.split(np.arange(len(seconds)), np.flatnonzero(np.diff(seconds) > gap) + 1):
        starts = np.arange(0, len(part), together)
        counts = np.diff([*starts, len(part)])
        x = np.add.reduceat(seconds[part], starts) / counts
        y = np.add.reduceat(shares[part], starts) / counts[:, np.newaxis]
        if len(x) == 1:  # one frame has no length
            x, y = np.array([x[0], x[0] + gap / 10]), np.repeat(y, 2, axis=0)
        parts.append((x, y))
    return parts

"""Figures: they draw, they say what they show, they leave nothing behind, equal ones are equal bytes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from made_run import log_events, log_text
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from fer.evaluation.calibration import calibration
from fer.evaluation.metrics import Metrics, compute_metrics
from fer.evaluation.scores import Scores, make_scores
from fer.formats.log import parse_log
from fer.formats.log_outputs import find_accuracy, find_loss
from fer.formats.log_records import Log, LogRecord
from fer.report.curves import Chosen, Curves, Series, SnapshotAccuracies, collapse_sentence, make_curves, smooth
from fer.report.plots.calibration import plot_calibration, plot_recalls
from fer.report.plots.faces import Confusion, Seen, plot_confusions, plot_maps, plot_tiles
from fer.report.plots.look import COLORS, render
from fer.report.plots.scores import Mistake, plot_class_bars, plot_class_counts, plot_confusion, plot_mistakes, plot_roc
from fer.report.plots.training import (
    plot_learning_rate,
    plot_overlay,
    plot_overview,
    plot_side_by_side,
    plot_training_loss,
    plot_validation,
)

TITLE = "AlexNet s3 · PublicTest (val) · FER2013"
CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")


def curves(gamma: float = 0.5, stepsize: int = 400, iterations: int = 1000) -> Curves:
    log = parse_log(log_text(log_events(iterations, gamma, stepsize)).splitlines())
    return make_curves(log, lambda i: 0.01 * gamma ** (i // stepsize))


def metrics(classes: tuple[str, ...] = CLASSES, labels: Sequence[int] = ()) -> Metrics:
    random = np.random.default_rng(3)
    truth = np.array(labels) if labels else random.integers(0, len(classes), 200)
    probs = random.dirichlet([1.0] * len(classes), len(truth)).astype(np.float32)
    return compute_metrics(make_scores("val", [str(i) for i in range(len(truth))], truth, probs), classes)


def mistakes(count: int) -> list[Mistake]:
    image = np.zeros((48, 48), np.uint8)
    return [Mistake(image, "Fear", "Sad", 0.99, f"{i:05d}.jpg") for i in range(count)]


def scores(classes: int = 7) -> Scores:
    random = np.random.default_rng(4)
    probs = random.dirichlet([0.5] * classes, 200).astype(np.float32)
    return make_scores("val", [str(i) for i in range(200)], random.integers(0, classes, 200), probs)


def recalls(classes: Sequence[str]) -> list[tuple[str, Series]]:
    return [(name, Series.of([(100, 0.1), (200, k / len(classes))])) for k, name in enumerate(classes)]


def looked_at(classes: Sequence[str], each: int, grad_cam: bool = True) -> list[Seen]:
    image, values = np.zeros((48, 48), np.uint8), np.linspace(-1, 1, 48 * 48, dtype=np.float32).reshape(48, 48)
    cam = np.abs(values) if grad_cam else None
    return [Seen(image, name, classes[0], 0.9, values, cam) for name in classes for _ in range(each)]


ACCURACIES = SnapshotAccuracies(
    Series.of([(200, 0.4), (400, 0.5), (1000, 0.45)]),
    Series.of([(1000, 0.55)]),
    Chosen("mean of 400 to 1,000", 1000, 0.55, ten_crop=0.6),
    majority_baseline=0.25,
)
FIGURES: dict[str, Callable[[], Figure]] = {
    "learning_rate": lambda: plot_learning_rate(curves(), TITLE),
    "training_loss": lambda: plot_training_loss(curves(), TITLE),
    "validation": lambda: plot_validation(curves(), TITLE, accuracies=ACCURACIES),
    "overview": lambda: plot_overview(curves(0.1, 20), TITLE, accuracies=ACCURACIES),
    "overlay": lambda: plot_overlay([("one", curves()), ("two", curves(0.1, 20))], TITLE),
    "side_by_side": lambda: plot_side_by_side([("one", curves()), ("two", curves(0.1, 20))], TITLE),
    "confusion": lambda: plot_confusion(metrics(), TITLE),
    "normalised": lambda: plot_confusion(metrics(), TITLE, normalised=True),
    "roc": lambda: plot_roc(metrics(), TITLE),
    "bars": lambda: plot_class_bars(metrics(), TITLE),
    "mistakes": lambda: plot_mistakes(mistakes(8), TITLE),
    "calibration": lambda: plot_calibration(calibration(scores()), calibration(scores(), 2.0), 2.0, TITLE),
    "recalls": lambda: plot_recalls(recalls(CLASSES), TITLE),
    "confusions": lambda: plot_confusions([Confusion("Fear", "Sad", 30, 0.1, mistakes(8))] * 5, TITLE),
    "maps": lambda: plot_maps(looked_at(CLASSES, 3), TITLE),
    "tiles": lambda: plot_tiles([np.zeros((44, 44), np.uint8)] * 20, list(CLASSES) * 3, TITLE),
    "counts": lambda: plot_class_counts({"Training (train)": [5, 0, 3, 9, 1, 1, 2]}, CLASSES, TITLE),
}


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_and_names_net_split_and_data(name: str) -> None:
    before = dict(mpl.rcParams)
    figure = FIGURES[name]()
    assert TITLE in texts(figure)
    png = render(figure, "png")
    assert png.startswith(b"\x89PNG") and len(png) > 5000
    assert dict(mpl.rcParams) == before


@pytest.mark.full
@pytest.mark.parametrize("name", ["overview", "confusion", "roc"])
def test_equal_figures_are_equal_bytes(name: str) -> None:
    first, second = (render(FIGURES[name](), "svg") for _ in range(2))
    assert first == second and b"<svg" in first and b"<dc:date>" not in first


@pytest.mark.full
def test_pyplot_is_not_touched() -> None:
    import matplotlib.pyplot as plt

    for draw in FIGURES.values():
        draw()
    assert plt.get_fignums() == []


def test_a_figure_can_be_drawn_on_axes_given() -> None:
    figure = Figure()
    ax = figure.add_subplot(1, 2, 1)
    assert plot_roc(metrics(), TITLE, ax=ax) is figure
    assert len(ax.lines) == 1 + 7 + 2  # the diagonal, the classes, macro and micro


def test_the_confusion_matrix_is_written_out() -> None:
    m = metrics()
    cells = plot_confusion(m, TITLE).axes[0].texts
    assert [int(cell.get_text()) for cell in cells] == m.confusion.ravel().tolist()
    shares = [float(cell.get_text()) for cell in plot_confusion(m, TITLE, normalised=True).axes[0].texts]
    assert np.reshape(shares, (7, 7)).sum(axis=1) == pytest.approx(100, abs=0.4)


def test_classes_without_images_leave_gaps_and_no_warning() -> None:
    m = metrics(("a", "b", "c"), [0, 0, 1, 1])
    assert len(plot_confusion(m, TITLE).axes[0].texts) == 6
    for draw in (plot_roc, plot_class_bars, plot_confusion):
        render(draw(m, TITLE), "svg")


def test_bars_differ_in_more_than_colour() -> None:
    bars = plot_class_bars(metrics(), TITLE).axes[0].containers
    hatches = [bar.patches[0].get_hatch() for bar in bars if isinstance(bar, BarContainer)]
    assert len(hatches) == len(set(hatches)) == 3


@pytest.mark.parametrize("count", [2, 12, 100])
def test_any_number_of_classes_is_drawn_readably(count: int) -> None:
    """Names lie on no neighbour, the legend is short, and nothing is written into cells that have no room for it."""
    names = tuple(f"a rather long name of class {k}" for k in range(count))
    m = metrics(names)
    assert len(plot_confusion(m, TITLE).axes[0].texts) == (
        np.count_nonzero(m.confusion.sum(1)) * count if count <= 12 else 0
    )
    legend = plot_roc(m, TITLE).axes[0].get_legend()
    assert legend is not None and len(legend.get_texts()) <= 12
    counts = plot_class_counts({"Training (train)": [3] * count}, names, TITLE)
    for figure in (plot_confusion(m, TITLE), plot_class_bars(m, TITLE), counts):
        figure.draw_without_rendering()
        ticks = [*figure.axes[0].get_yticklabels(), *figure.axes[0].get_xticklabels()]
        shown = [label.get_text() for label in ticks if "name" in label.get_text() or "class" in label.get_text()]
        assert len(set(shown)) >= count and len(set(shown)) in (len(shown), len(shown) / 2)
        labels = [label.get_window_extent() for label in figure.axes[0].get_yticklabels() if label.get_text()]
        tops = sorted(box.y0 for box in labels)
        assert min(np.diff(tops)) > 0.8 * labels[0].height


def test_colours_differ_for_every_eye() -> None:
    """Each pair of line colours is apart in lightness or in the blue-yellow axis that colour-blind eyes keep."""
    red, green, blue = np.array([to_rgb(color) for color in COLORS]).T
    lightness, yellow = 0.3 * red + 0.59 * green + 0.11 * blue, (red + green) / 2 - blue
    for i in range(len(COLORS)):
        for j in range(i):
            assert abs(lightness[i] - lightness[j]) + abs(yellow[i] - yellow[j]) > 0.05


def test_the_crops_and_the_chosen_one_are_named() -> None:
    for name in ("overview", "validation"):
        said = texts(FIGURES[name]())
        for label in ("centre crop, of each snapshot", "chosen: mean of 400 to 1,000", "chosen, ten-crop"):
            assert label in said


def test_an_early_collapse_is_marked_and_said() -> None:
    fallen = curves(0.1, 20)
    assert fallen.collapse == 60  # 0.1, 0.01 are not below 1%; 0.001 is
    assert "below 1% of its start\nafter 60 iterations" in texts(plot_overview(fallen, TITLE))
    assert collapse_sentence(fallen) == (
        "The learning rate fell below 1% of its start after 60 of 1,000 iterations; "
        "val accuracy did not rise after that."
    )
    steady = curves(0.5, 400)
    assert steady.collapse is None and collapse_sentence(steady) is None
    assert "below 1%" not in texts(plot_overview(steady, TITLE))


def test_an_accuracy_that_rises_after_the_collapse_is_said_too() -> None:
    tests = [LogRecord(i, "test", 0, outputs={"accuracy": 0.2 + i / 1000}) for i in range(0, 500, 100)]
    rates = [LogRecord(i, "train", 0, lr=1e-9 if i > 100 else 1.0, loss=1.0) for i in range(0, 500, 50)]
    records = sorted([*tests, *rates], key=lambda record: record.iteration)
    sentence = collapse_sentence(make_curves(Log(tuple(records))))
    assert sentence is not None and sentence.endswith(
        "after 150 of 450 iterations; val accuracy rose by 30.0 points after that."
    )


def test_a_late_fall_is_how_a_schedule_ends() -> None:
    assert curves(0.05, 300, 1000).collapse == 600
    assert collapse_sentence(curves(0.05, 300, 1000)) is None
    assert "below 1%" not in texts(plot_overview(curves(0.05, 300, 1000), TITLE))


@pytest.mark.full
@pytest.mark.parametrize("values", [[1.0, np.nan, np.inf, -np.inf], [1e30, 2, 2, 2] * 10, [0.0] * 12, [np.nan] * 12])
def test_losses_that_explode_draw(values: list[float]) -> None:
    records = [LogRecord(i, "train", 0, lr=10.0, loss=value) for i, value in enumerate(values)]
    records += [LogRecord(i, "test", 0, outputs={"accuracy": 1.0, "loss": v}) for i, v in enumerate(values)]
    records.sort(key=lambda record: record.iteration)
    made = make_curves(Log(tuple(records)))
    for draw in (plot_overview, plot_validation, plot_training_loss):
        render(draw(made, TITLE), "png")
    render(plot_overlay([("one", made)], TITLE), "png")
    render(plot_side_by_side([("one", made), ("two", curves())], TITLE), "png")


def test_divergence_is_noticed() -> None:
    records = [LogRecord(i, "train", 0, loss=v) for i, v in enumerate((1.0, 2.0, float("nan"), 3.0))]
    assert make_curves(Log(tuple(records))).diverged == 2


def test_one_point_and_rates_of_zero_draw() -> None:
    made = make_curves(Log((LogRecord(0, "train", 0, lr=0.0, loss=1.0), LogRecord(0, "test", 0, outputs={"acc": 0.1}))))
    render(plot_overview(made, TITLE), "png")


@pytest.mark.parametrize(
    ("names", "kind", "found"),
    [
        (["accuracy", "loss"], "accuracy", "accuracy"),
        (["loss1/top-1", "loss3/top-1", "loss3/top-5", "loss3/loss3"], "accuracy", "loss3/top-1"),
        (["loss1/loss1", "loss3/loss3", "loss3/top-1"], "loss", "loss3/loss3"),
        (["Accuracy1", "softmax_loss"], "accuracy", "Accuracy1"),
        (["prob"], "loss", ""),
    ],
)
def test_the_main_output_is_found(names: list[str], kind: str, found: str) -> None:
    records = [LogRecord(0, "test", 0, outputs=dict.fromkeys(names, 1.0))]
    assert (find_accuracy(records).name if kind == "accuracy" else find_loss(records)) == found


def test_the_rate_is_filled_in_from_the_schedule_where_the_log_agrees() -> None:
    records = [LogRecord(i, "train", 0, lr=1.0 if i < 100 else 0.1, loss=1.0) for i in (0, 100)]
    log = Log((*records, LogRecord(150, "train", 0, loss=1.0)))
    filled = make_curves(log, lambda i: 1.0 if i < 50 else 0.1 if i < 150 else 0.01).lr
    assert filled.values[filled.iterations == 75] == 0.1 and filled.iterations[-1] == 150 and filled.values[-1] == 0.1
    assert make_curves(log, lambda i: 7.0).lr.iterations.tolist() == [0, 100]


def test_the_running_mean() -> None:
    line = Series.of([(i, float(i)) for i in range(100)])
    mean, window = smooth(line)
    assert window == 5 and mean.values[50] == pytest.approx(50) and mean.values[0] == pytest.approx(1)
    holes = Series.of([(i, np.nan if i % 2 else 1.0) for i in range(100)])
    assert smooth(holes)[0].values == pytest.approx(np.ones(100))
    assert smooth(Series.of([(0, 1.0)]))[1] == 1


@pytest.mark.parametrize("name", ["overview", "validation", "training_loss", "side_by_side", "bars"])
def test_no_legend_lies_on_a_line(name: str) -> None:
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    legends = [(ax, legend) for ax in figure.axes if (legend := ax.get_legend())]
    assert legends
    for ax, legend in legends:
        box, plot = legend.get_window_extent(), ax.get_window_extent()
        assert box.y0 >= plot.y1
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other.get_window_extent()) for other in figure.axes)


def seen(figure: Figure, label: str) -> list[bool]:
    """Whether each line of this label has anything to see: two points joined, or a mark."""
    found = []
    for line in (line for ax in figure.axes for line in ax.lines if line.get_label() == label):
        known = np.isfinite(np.asarray(line.get_ydata(), float))
        marked = line.get_marker() != "None" and bool(line.get_markevery())
        found.append(bool((known[:-1] & known[1:]).any()) or marked)
    return found


def test_a_single_point_is_seen() -> None:
    """Of a run with one test, and of one whose every other loss is not finite."""
    one = curves(iterations=1)
    assert len(one.accuracy) == len(one.loss) == 1
    assert seen(plot_overlay([("one", one), ("two", curves())], TITLE), "one") == [True] * 3
    assert seen(plot_side_by_side([("one", one)], TITLE), "val") == [True]
    rate = make_curves(Log((LogRecord(0, "train", 0.0, lr=0.1),)))
    assert seen(plot_learning_rate(rate, TITLE), "learning rate") == [True]
    holes = Series.of([(i, math.nan if i % 2 else 1.0) for i in range(100)])
    assert seen(plot_overlay([("holes", replace(one, test_loss=holes))], TITLE), "holes") == [True] * 3


def test_lines_differ_in_more_than_colour() -> None:
    runs = [(str(i), curves()) for i in range(7)]
    for ax in plot_overlay(runs, TITLE).axes:
        assert len({line.get_marker() for line in ax.lines}) == 7
        for marks in (line.get_markevery() for line in ax.lines):
            assert isinstance(marks, list) and len(marks) >= 8
    middle = plot_overview(curves(), TITLE).axes[1].lines
    assert middle[-1].get_linestyle() != middle[-2].get_linestyle()


def ticks(axis: Axis, figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    low, high = sorted(axis.get_view_interval())
    return [
        label.get_text()
        for label, at in zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True)
        if low <= at <= high
    ]


def test_no_tick_is_written_twice() -> None:
    """Of few iterations, few images and a narrow range of accuracies."""
    short = curves(iterations=1)
    overview, counts = plot_overview(short, TITLE), plot_class_counts({"a": [1, 0, 1]}, ("x", "y", "z"), TITLE)
    assert ticks(overview.axes[-1].xaxis, overview) == ["0", "1"]
    assert ticks(counts.axes[0].xaxis, counts) == ["0", "1"]
    close = replace(curves(), accuracy=Series.of([(0, 0.205), (500, 0.3), (1000, 0.318)]))
    figure = plot_overview(close, TITLE)
    written = ticks(figure.axes[-1].yaxis, figure)
    steps = np.diff([int(text.rstrip("%")) for text in written])
    assert len(set(written)) == len(written) > 2 and len(set(steps)) == 1


def test_no_engine_is_named_on_a_curve() -> None:
    assert "Caffe" not in texts(plot_overview(curves(), TITLE, accuracies=ACCURACIES))


@pytest.mark.parametrize("count", [2, 24, 100])
def test_recalls_and_maps_of_any_number_of_classes_are_drawn_readably(count: int) -> None:
    names = [f"a rather long name {k}" for k in range(count)]
    figure = plot_recalls(recalls(names), TITLE)
    legend = figure.axes[0].get_legend()
    assert legend is not None and len(legend.get_texts()) == min(count, 10)
    assert len(figure.axes[0].lines) == count
    render(figure, "svg")
    sheet = plot_maps(looked_at(names[:24], 1, grad_cam=count > 2), TITLE)
    assert len(sheet.axes[0].images) == min(count, 24) * (3 if count > 2 else 2)
    lowest = max(image.get_extent()[2] for image in sheet.axes[0].images)
    assert lowest <= sheet.axes[0].get_ylim()[0]


def test_each_class_of_some_faces_begins_a_row() -> None:
    faces = [face for face in looked_at(CLASSES, 3) if face.true != "Disgust"] + looked_at(["Disgust"], 1)
    tops = [image.get_extent()[3] for image in plot_maps(faces, TITLE).axes[0].images]
    assert len(set(np.round(tops, 3))) == 7


def test_a_face_whose_label_is_in_doubt_is_framed() -> None:
    faces = [replace(each, doubted=i == 1) for i, each in enumerate(mistakes(3))]
    figure = plot_confusions([Confusion("Fear", "Sad", 30, 0.1, faces)], TITLE)
    assert len(figure.axes[0].patches) == 1
    assert texts(figure).count("label in doubt") == 1

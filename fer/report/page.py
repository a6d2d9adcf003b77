"""report.html: one file, nothing from outside, for screens, phones and paper: report.html.j2, report.css, report.js."""

import base64
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from fer.report import tables, words
from fer.report.explanations import NO_INSIGHT, Insight
from fer.report.plots.look import Figure
from fer.report.results import DataResult, Result, RunResult
from fer.report.table import Table
from fer.report.templates import environment

# figure -> its caption; the page shows those that were drawn
CAPTIONS = {
    "overview": "Learning rate, loss and accuracy over the same iterations.",
    "learning_rate": "Learning rate.",
    "training_loss": "Training loss, as the log has it and smoothed.",
    "validation": "Accuracy and loss of the test net during training; dots: each snapshot, every image once.",
    "confusion_val": "Confusion matrix, counts. Rows: true class.",
    "confusion_val_normalised": "Confusion matrix, percent of the true class.",
    "roc_val": "ROC curve of each class against the rest.",
    "classes_val": "Precision, recall and F1 of each class, percent; below the names the number of images.",
    "calibration_val": "Of the answers with some confidence, how many are right; the temperature is fitted on val, "
    "so that the right side flatters val, and test tells.",
    "confusions_val": "The commonest confusions, true → predicted; the faces that the net was surest of. "
    "Framed: the label is in doubt.",
    "maps_val": "Some faces of each class: the answer the net was surest of, its surest mistake, its least sure right "
    "answer. Beside each: red where covering it lowers the answer's probability (most: points in the corner), blue "
    "where it raises it; then Grad-CAM, bright where the last layer that sees places speaks for the answer.",
    "filters": "The first convolution's filters; white and black: the largest weights for and against.",
    "batch": "The first images of a batch of the training, mirrored, cropped, changed and the mean taken away as its "
    "data layers do it.",
    "recalls": "Recall of each class on val, of each snapshot that was scored.",
    "mistakes_val": "The mistakes the net was surest of: true → predicted, the probability of the wrong class.",
    "confusion_test": "Confusion matrix, counts. Rows: true class.",
    "confusion_test_normalised": "Confusion matrix, percent of the true class.",
    "roc_test": "ROC curve of each class against the rest.",
    "classes_test": "Precision, recall and F1 of each class, percent; below the names the number of images.",
    "calibration_test": "Of the answers with some confidence, how many are right; the temperature is fitted on val.",
    "class_counts": "Images by class and split.",
    "side_by_side": "The runs side by side; a row shares its scale. ★: best on val.",
    "overlay": "The runs over each other. ★: best on val.",
}
PHOTOGRAPHS = {"mistakes_val", "confusions_val", "maps_val", "filters", "batch"}


@dataclass(frozen=True)
class Picture:
    """A figure inside the page: its bytes as an address, and the size in CSS pixels that it was drawn for."""

    address: str
    width: int
    height: int
    photographs: bool


def page(
    result: Result, figures: Mapping[str, Figure], images: Mapping[str, bytes], insight: Insight = NO_INSIGHT
) -> str:
    """The page of a result, with the figures inside it, as `images` has them ("figures/<name>.svg", ".png"), and
    what there is to know of its net."""
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            result=result,
            captions=CAPTIONS,
            contents=[],  # the headings, which the template gathers
            drawn={name: _picture(name, images, figures[name]) for name in CAPTIONS if name in figures},
            insight=insight,
            calibration_table=tables.calibration_table,
            accuracy_table=tables.accuracy_table,
            class_table=tables.class_table,
            runs_table=tables.runs_table,
            recall_table=tables.recall_table,
            forms_table=_forms_table,
            training_facts=words.training_facts,
            data_facts=_data_facts,
            run_facts=_run_facts,
        )
    )


def _picture(name: str, images: Mapping[str, bytes], figure: Figure) -> Picture:
    photographs = name in PHOTOGRAPHS
    kind, media = ("png", "image/png") if photographs else ("svg", "image/svg+xml")
    address = f"data:{media};base64,{base64.b64encode(images[f'figures/{name}.{kind}']).decode()}"
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return Picture(address, width, height, photographs)


def _forms_table(result: RunResult) -> Table:
    own = {split: each.accuracy for split, each in result.splits.items()}
    return tables.forms_table(own, result.export.forms if result.export else {})


def _data_facts(data: DataResult) -> list[tuple[str, str]]:
    folder = f"{data.dir}/"
    hashes = [(f"SHA-256 of {name.removeprefix(folder)}", digest) for name, digest in (data.files or {}).items()]
    images = (data.images or {}).items()
    hashes += [(f"SHA-256 of the images of {name.removeprefix(folder)}", digest) for name, digest in images]
    return [
        ("data", data.title),
        ("directory", data.dir or ""),
        *(("prepared", note) for note in data.notes),
        ("SHA-256 of manifest.json", data.manifest_sha256 or ""),
        *hashes,
    ]


def _run_facts(result: RunResult) -> list[tuple[str, str]]:
    run = dict(result.run)
    facts = [("command", shlex.join(run.pop("command"))), ("time", words.duration(run.pop("seconds", None)))]
    facts += words.training_facts(result.training)
    facts += [(key.replace("_", " "), words.flat(value)) for key, value in run.items()]
    return [
        *facts,
        ("weights", result.snapshot.weights),
        ("SHA-256 of the weights", result.snapshot.weights_sha256),
    ]

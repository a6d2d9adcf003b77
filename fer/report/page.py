"""report.html: one file, nothing from outside, readable on paper and on a phone. Its template is report.html.j2."""

import base64
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import markupsafe

from fer.report import tables, words
from fer.report.results import DataResult, Result, RunResult
from fer.system.escapes import escaped

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
    "mistakes_val": "The mistakes the net was surest of: true → predicted, the probability of the wrong class.",
    "confusion_test": "Confusion matrix, counts. Rows: true class.",
    "confusion_test_normalised": "Confusion matrix, percent of the true class.",
    "roc_test": "ROC curve of each class against the rest.",
    "classes_test": "Precision, recall and F1 of each class, percent; below the names the number of images.",
    "class_counts": "Images by class and split.",
    "side_by_side": "The runs side by side; a row shares its scale.",
    "overlay": "The runs over each other.",
}
AS_PNG = {"mistakes_val"}  # photographs


def page(result: Result, images: Mapping[str, bytes]) -> str:
    """The page of a result, with the figures ("figures/<name>.svg", ".png") inside it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: (
            value if isinstance(value, markupsafe.Markup) or not isinstance(value, str) else escaped(value, keep="\n")
        ),
    )
    for word in (words.percent, words.interval, words.snapshot_text, words.mcnemar_sentence):
        environment.filters[word.__name__] = word
    return environment.get_template("report.html.j2").render(
        result=result,
        captions=CAPTIONS,
        drawn={name: _embedded(name, images) for name in CAPTIONS if f"figures/{name}.svg" in images},
        accuracy_table=tables.accuracy_table,
        class_table=tables.class_table,
        runs_table=tables.runs_table,
        recall_table=tables.recall_table,
        training_facts=words.training_facts,
        data_facts=_data_facts,
        run_facts=_run_facts,
    )


def _embedded(name: str, images: Mapping[str, bytes]) -> str:
    """A figure as the address of an image."""
    kind, media = ("png", "image/png") if name in AS_PNG else ("svg", "image/svg+xml")
    return f"data:{media};base64,{base64.b64encode(images[f'figures/{name}.{kind}']).decode()}"


def _data_facts(data: DataResult) -> list[tuple[str, str]]:
    folder = f"{data.dir}/"
    hashes = [(f"SHA-256 of {name.removeprefix(folder)}", digest) for name, digest in (data.files or {}).items()]
    return [
        ("data", data.title),
        ("directory", data.dir or ""),
        ("SHA-256 of manifest.json", data.manifest_sha256 or ""),
        *hashes,
    ]


def _run_facts(result: RunResult) -> list[tuple[str, str]]:
    run = dict(result.run)
    facts = [("command", shlex.join(run.pop("command"))), ("time", words.duration(run.pop("seconds", None)))]
    facts += words.training_facts(result.training)
    facts += [(key.replace("_", " "), _flat(value)) for key, value in run.items()]
    return [
        *facts,
        ("weights", result.snapshot.weights),
        ("SHA-256 of the weights", result.snapshot.weights_sha256),
    ]


def _flat(value: Any) -> str:
    """A fact of run.json as one text."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(each)}" for key, each in value.items() if each is not None)
    return str(value)

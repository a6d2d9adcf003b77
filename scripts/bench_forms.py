"""Nets in all their forms for devices: bytes, accuracy, agreement with themselves, milliseconds a face.

python scripts/bench_forms.py data/fer2013 [RUN or EXPORT ...] [--format NAME,...] [--val-only] [--out DIR]

Prints the tables of the README: of one net (by default the one in the box) a row a form; of several a row a net, with
what each form of integers loses on PublicTest, in points, and how often it gives the net's own class. Integers are
calibrated with 300 Training images; milliseconds are the median of one face by one thread, so that they want a
processor with nothing else to do.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fer.data.dataset import SPLIT_NAMES, held_out
from fer.errors import FerError
from fer.evaluation.score import score_run
from fer.evaluation.scores import Scores
from fer.export import proof
from fer.export.calibration import IMAGES, balanced
from fer.export.exported import write_caffe_files
from fer.export.form import Form, Job, Reader
from fer.export.forms import FORMS, forms_called
from fer.export.proof import HeldOut, prove
from fer.formats.database import Database
from fer.formats.prototxt import read_net
from fer.inference.classifier import DEPLOY, MEAN, WEIGHTS, Classifier, Model, find_model, trained_model
from fer.inference.model_record import MODEL_JSON, FormRecord
from fer.runs.opened import open_runs


@dataclass(frozen=True)
class Net:
    """One net: its own answers to the splits, and its forms; what could not be said of one is why."""

    name: str
    splits: dict[str, HeldOut]
    forms: dict[str, FormRecord | str]

    @property
    def own(self) -> dict[str, float]:
        return {split: float(each.scores.correct.mean()) for split, each in self.splits.items()}


class OfBytes:
    """A form, read back by the program alone that takes images as a camera gives them."""

    def __init__(self, form: Form):
        self._form = form

    def __getattr__(self, name: str) -> Any:
        return getattr(self._form, name)

    def readers(self, job: Job) -> tuple[dict[str, Reader], dict[str, str]]:
        readers, missing = self._form.readers(job)
        return dict([next(iter(readers.items()))]), missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a data directory of fer prepare")
    parser.add_argument("nets", nargs="*", type=Path, help="runs, or exported models (default: the model in the box)")
    parser.add_argument("--format", default=",".join(FORMS))
    parser.add_argument("--val-only", action="store_true", help="leave test (PrivateTest) unscored")
    parser.add_argument("--out", type=Path, help="where to keep the forms, in a folder a net")
    args = parser.parse_args()
    proof.AGREEMENT = 0  # a form that loses much is what this is to show
    with tempfile.TemporaryDirectory() as scratch:
        nets = []
        for number, path in enumerate(args.nets or [None]):
            name = path.name if path else "the model in the box"
            folder, given = Path(args.out or scratch, f"{number}-{name}"), Path(scratch, f"given-{number}")
            folder.mkdir(parents=True)
            given.mkdir()
            nets.append(measure(name, exported(path, args.data, given), args, folder))
        if len(nets) > 1:
            print("\n".join(summary(nets)))


def exported(path: Path | None, data: Path, out: Path) -> Model:
    """The model in the box, of an export, or of a run's snapshot that is best on val."""
    if path is None or (path / MODEL_JSON).is_file():
        return find_model(path)
    (run,) = open_runs([path], Path("runs"), data)
    score_run(run, val_only=True)
    return write_caffe_files(out, trained := trained_model(run), read_net(trained.deploy))


def measure(name: str, model: Model, args: argparse.Namespace, out: Path) -> Net:
    classifier, splits = Classifier(model), {}
    for split in held_out(args.val_only):
        images, labels = read(args.data, split)
        names = tuple(map(str, range(len(labels))))
        splits[split] = HeldOut(images, Scores(split, names, labels, classifier(images)))
    net = Net(name, splits, {})
    own = ", ".join(f"{SPLIT_NAMES[split]} {value:.2%}" for split, value in net.own.items())
    print(f"{name} itself, by OpenCV: {own}", flush=True)
    images, labels = read(args.data, "train")
    calibration = images[balanced(labels, IMAGES)]
    for file in (DEPLOY, WEIGHTS, MEAN):
        shutil.copy(model.directory / file, out)
    made = replace(model, directory=out, deploy=out / DEPLOY, weights=out / WEIGHTS)
    job = Job(made, read_net(made.deploy), lambda: calibration, lambda stage, done, total: None)
    for form in forms_called(args.format.split(",")):
        try:
            form.write(job)
            record, *_ = prove(job, OfBytes(form), splits["val"], splits.get("test"))
        except FerError as error:
            net.forms[form.name] = " ".join(str(error).split())
            print(f"| `{form.name}` | {net.forms[form.name]} |", flush=True)
        else:
            net.forms[form.name] = record
            print(row(form.name, record), flush=True)
    return net


def row(name: str, record: FormRecord) -> str:
    test = "" if record.test is None else f"{record.test:.2%}"
    took = "" if record.milliseconds is None else f"{record.milliseconds:.2g}"
    figures = f"{record.accuracy:.2%} | {test} | {record.agreement:.1%} | {record.difference:.2g} | {took}"
    return f"| `{name}` | {record.bytes / 1e6:.2f} | {figures} |"


def summary(nets: Sequence[Net]) -> Iterator[str]:
    """Markdown: what the integers of each form change on val, in points, and the share of the net's own classes."""
    forms = list(dict.fromkeys(name for net in nets for name in net.forms))
    yield f"\n| net | itself | {' | '.join(f'`{name}`' for name in forms)} |"
    yield "|---|---:" + "|---:" * len(forms) + "|"
    for net in nets:
        cells = [cell(net.forms[name], net.own["val"]) for name in forms]
        yield f"| {net.name} | {net.own['val']:.2%} | {' | '.join(cells)} |"


def cell(found: FormRecord | str, own: float) -> str:
    return "refused" if isinstance(found, str) else f"{100 * (found.accuracy - own):+.2f} ({found.agreement:.1%})"


def read(data: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    with Database(data / f"{split}_lmdb") as database:
        images, labels, _ = database.read_all()
    return images, labels


if __name__ == "__main__":
    main()

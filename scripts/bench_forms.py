"""The model in the box in all its forms for devices: bytes, accuracy, agreement with itself, milliseconds a face.

python scripts/bench_forms.py data/fer2013 [--model EXPORT] [--format NAME,...] [--out DIR]

Prints the table of the README. Integers are calibrated with 300 Training images; milliseconds are the median of one
face by one thread, so that they want a processor with nothing else to do.
"""

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from fer.data.dataset import held_out
from fer.evaluation.scores import Scores
from fer.export.calibration import IMAGES, balanced
from fer.export.form import Job
from fer.export.forms import FORMS, forms_called
from fer.export.proof import HeldOut, prove
from fer.formats.database import Database
from fer.formats.prototxt import read_net
from fer.inference.classifier import DEPLOY, MEAN, WEIGHTS, Classifier, find_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a data directory of fer prepare")
    parser.add_argument("--model", type=Path, help="an exported model (default: the one in the box)")
    parser.add_argument("--format", default=",".join(FORMS))
    parser.add_argument("--out", type=Path, help="where to keep the forms")
    args = parser.parse_args()
    model = find_model(args.model)
    classifier = Classifier(model)
    splits = {}
    for split in held_out():
        images, labels = read(args.data, split)
        names = tuple(map(str, range(len(labels))))
        splits[split] = HeldOut(images, Scores(split, names, labels, classifier(images)))
    images, labels = read(args.data, "train")
    calibration = images[balanced(labels, IMAGES)]
    own = "  ".join(f"{split} {each.scores.correct.mean():.2%}" for split, each in splits.items())
    print(f"the model itself, by OpenCV: {own}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        out = args.out or Path(scratch, "forms")
        out.mkdir(parents=True, exist_ok=True)
        for name in (DEPLOY, WEIGHTS, MEAN):
            shutil.copy(model.directory / name, out)
        made = replace(model, directory=out, deploy=out / DEPLOY, weights=out / WEIGHTS)
        job = Job(made, read_net(made.deploy), lambda: calibration, lambda stage, done, total: None)
        for form in forms_called(args.format.split(",")):
            form.write(job)
            record, *_ = prove(job, form, splits["val"], splits["test"])
            print(
                f"| `{form.name}` | {record.bytes / 1e6:.2f} | {record.accuracy:.2%} | {record.test:.2%} | "
                f"{record.agreement:.1%} | {record.difference:.2g} | {record.milliseconds or 0:.2g} |",
                flush=True,
            )


def read(data: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    with Database(data / f"{split}_lmdb") as database:
        images, labels, _ = database.read_all()
    return images, labels


if __name__ == "__main__":
    main()

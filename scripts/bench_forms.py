"""The model in the box in all its forms for devices: bytes, accuracy, agreement with itself, milliseconds a face.

python scripts/bench_forms.py data/fer2013 [--model EXPORT] [--format NAME,...] [--out DIR]

Prints the table of the README. Integers are calibrated with 300 Training images; milliseconds are the median of one
face by one thread, so that they want a processor with nothing else to do.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from fer.data.dataset import held_out
from fer.evaluation.scores import Scores
from fer.export.devices import blobs_of, drawn_alike
from fer.export.form import Source
from fer.export.forms import FORMS, find_forms
from fer.export.proof import HeldOut, add_form
from fer.formats.database import Database
from fer.formats.prototxt import read_net
from fer.inference.classifier import Classifier, find_model
from fer.nets.fold import fold


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
    folded = fold(read_net(model.deploy), blobs_of(model))
    source = Source(folded.net, folded.blobs, model.transform, images[drawn_alike(labels)])
    own = "  ".join(f"{split} {each.scores.correct.mean():.2%}" for split, each in splits.items())
    print(f"the model itself, by OpenCV: {own}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        out = args.out or Path(scratch, "forms")
        out.mkdir(parents=True, exist_ok=True)
        for form in find_forms(args.format):
            made = add_form(form, source, out / form.name, splits, lambda stage, done, total: None)
            test = made.test.accuracy if made.test else float("nan")
            print(
                f"| `{form.name}` | {made.bytes / 1e6:.2f} | {made.val.accuracy:.2%} | {test:.2%} | "
                f"{made.agreement:.1%} | {made.largest_difference:.2g} | {made.milliseconds:.2g} |",
                flush=True,
            )


def read(data: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    with Database(data / f"{split}_lmdb") as database:
        images, labels, _ = database.read_all()
    return images, labels


if __name__ == "__main__":
    main()

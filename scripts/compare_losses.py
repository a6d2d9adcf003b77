"""Train one net with several training losses and compare them on PublicTest: label smoothing and class weights.

    python scripts/compare_losses.py [RECIPE ...] [--net lenet] [--solver s2] [--data data/fer2013] [--precision auto]

Every run has the same seed, solver and data on the PyTorch engine; only the loss of the TRAIN phase differs, by the
matrix H of InfogainLoss. PrivateTest is not scored (fer report --val-only): a recipe is chosen here. Runs that are
finished are not trained again, and one that was stopped is resumed. Prints accuracy, mean recall, Disgust's recall
(its rarest class, 56 images of PublicTest) and McNemar's test against the plain loss.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fer.formats.prototxt import read_net, write_text
from fer.nets.zoo import find_net, find_solver
from fer.report.words import p_value
from fer.schema import caffe_pb2

RECIPES = {
    "plain": (),
    "smoothing-0.1": ("--smoothing", "0.1"),
    "balance": ("--balance", "DATA"),
    "balance-0.5": ("--balance", "DATA", "--power", "0.5"),
    "balance-0.5-smoothing-0.1": ("--balance", "DATA", "--power", "0.5", "--smoothing", "0.1"),
}


def fer(*words: object) -> str:
    done = subprocess.run([sys.executable, "-m", "fer", *map(str, words)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def net_with_loss(net: caffe_pb2.NetParameter, matrix: Path) -> caffe_pb2.NetParameter:
    """The net with InfogainLoss of `matrix` in the TRAIN phase; the TEST phase keeps its SoftmaxWithLoss."""
    made = caffe_pb2.NetParameter()
    made.CopyFrom(net)
    (loss,) = [layer for layer in made.layer if layer.type == "SoftmaxWithLoss"]
    loss.include.add().phase = caffe_pb2.TEST
    training = made.layer.add()
    training.CopyFrom(loss)
    training.type = "InfogainLoss"
    training.include[0].phase = caffe_pb2.TRAIN
    training.infogain_loss_param.source = str(matrix)
    return made


def train(name: str, net: str | Path, options: argparse.Namespace) -> Path:
    run = Path("runs") / name
    if not run.exists():
        what = ("--net", net, "--solver", find_solver(options.net, options.solver), "--data", options.data)
        how = ("--engine", "pytorch", "--precision", options.precision, "--seed", 1, "--shuffle")
        fer("train", *what, *how, "--name", name)
    elif json.loads((run / "run.json").read_text())["state"] != "finished":
        fer("train", "--resume", run, "--engine", "pytorch")
    return run


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=f"beside plain, of {', '.join(RECIPES)} (all)")
    parser.add_argument("--net", default="lenet")
    parser.add_argument("--solver", default="s2")
    parser.add_argument("--data", type=Path, default=Path("data/fer2013"), metavar="DIR")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "tf32", "bf16"])
    parser.add_argument("--work", type=Path, default=Path("runs/losses"), metavar="DIR", help="for nets and matrices")
    options = parser.parse_args(argv)
    if unknown := sorted(set(options.recipes) - set(RECIPES)):
        parser.error(f"no recipe {unknown[0]!r}; there are {', '.join(RECIPES)}")
    recipes = {name: RECIPES[name] for name in RECIPES if name in ("plain", *(options.recipes or RECIPES))}
    source = find_net(options.net)
    options.work.mkdir(parents=True, exist_ok=True)
    runs = []
    for recipe, settings in recipes.items():
        net: str | Path = options.net
        if settings:
            matrix = options.work / f"{recipe}.binaryproto"
            fer("infogain", matrix, *(options.data if word == "DATA" else word for word in settings))
            net = options.work / f"{options.net}-{recipe}.prototxt"
            write_text(net, net_with_loss(read_net(source), matrix))
        runs.append(train(f"{options.net}-{options.solver}-{recipe}", net, options))
    out = options.work / f"report-{options.net}-{options.solver}"
    print(table(recipes, json.loads(fer("report", *runs, "--val-only", "--json", "--out", out))))


def table(recipes: Iterable[str], result: dict[str, Any]) -> str:
    p_values = {pair["b"]: pair["p_value"] for pair in result["mcnemar"] if pair["a"] == result["runs"][0]["name"]}
    lines = ["| loss | accuracy | mean recall | Disgust | log loss | p |", "|---|---:|---:|---:|---:|---:|"]
    for recipe, run in zip(recipes, result["runs"], strict=True):
        val = run["splits"]["val"]
        disgust = next(each["recall"] for each in val["classes"] if each["name"] == "Disgust")
        p = p_value(p_values[run["name"]]) if run["name"] in p_values else ""
        lines.append(
            f"| {recipe} | {val['accuracy']:.2%} | {val['balanced_accuracy']:.2%} | {disgust:.1%} "
            f"| {val['log_loss']:.3f} | {p} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

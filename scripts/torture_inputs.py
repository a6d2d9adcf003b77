"""Damaged files of every format, hostile names, and files that are swapped: what fer says to them."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
from torture_bench import Bench, Trial, attempt, emptied
from torture_mutations import mutants

from fer.engines.pycaffe import PyCaffe
from fer.engines.registry import ENGINES
from fer.system.records import SEAL

Words = list[str | Path]
# Where no Caffe can be had, a command ends before its engine: what reads files has had them by then.
NO_ENGINE = "/no/caffe"
NAMES = (
    "\x1b[2J\x1b]0;owned\x07", "two\nerror: lines", "\r\u202egnp", "$\\frac{$", "=1+1", "@SUM(A1)", "-1", "--help",
    "%s%n", "{0}{x}", "<script>alert(1)", "'\"`$(touch pwned)", "\\", " ", "a b", "漢字😀", os.fsdecode(b"caf\xe9"),
    "x" * 255, "\x9b31m", "\u2028", "CON", "a.", "&amp;", "\ufeff", "*",
)  # fmt: skip


@dataclass(frozen=True)
class Input:
    """A file of the inputs' folder, and the command that reads it."""

    file: str
    words: Callable[[Path], Words]


def _train(folder: Path) -> Words:
    words: Words = ["train", "--net", folder / "net.prototxt", "--solver", folder / "solver.prototxt"]
    return [*words, "--data", folder / "data", "--engine", "caffe", "--name", "new"]


def _predict(model: str, image: str = "face.png") -> Callable[[Path], Words]:
    return lambda folder: ["predict", folder / image, "--no-detect", "--model", folder / model]


def _report(folder: Path) -> Words:
    return ["report", folder / "run", "--val-only"]


def _resume(folder: Path) -> Words:
    return ["train", "--resume", folder / "run", "--engine", "caffe", "--max-iter", "400"]


def _log(folder: Path) -> Words:
    return ["report", "--log", folder / "run" / "train.log", "--out", folder / "shown"]


def _prepare(folder: Path) -> Words:
    return ["prepare", folder / "sample.csv", "--out", folder / "made", "--force"]


EXPORTED = ("model.json", "deploy.prototxt", "weights.caffemodel")
INPUTS = (
    *(Input("run/run.json", words) for words in (_predict("run"), _report, _resume)),
    *(Input(f"run/{name}", _report) for name in ("scores/val.npz", "scores/val_by_snapshot.json", "deploy.prototxt")),
    Input("run/train.log", _log),
    *(Input(f"run/snapshots/net_iter_300.{ending}", _resume) for ending in ("caffemodel", "solverstate")),
    *(Input(f"exported/{name}", _predict("exported")) for name in EXPORTED),
    *(Input(name, _train) for name in ("net.prototxt", "solver.prototxt")),
    *(Input(f"data/{name}", _train) for name in ("manifest.json", "mean.binaryproto", "train_lmdb/data.mdb")),
    Input("sample.csv", _prepare),
    *(Input(name, _predict("exported", name)) for name in ("face.png", "face.jpg")),
)


def damaged_inputs(bench: Bench, count: int) -> Iterator[Trial]:
    """`count` damaged files over all of INPUTS; every second lies where no seal and no hash has it refused at once."""
    each = -(-count // len(INPUTS))
    with emptied(bench.work / "inputs") as work, _cheap():
        folders = [_sealed(bench, work / "sealed"), _open(_sealed(bench, work / "open"))]
        for place, tried in enumerate(INPUTS):
            for number, folder in enumerate(folders):
                file = folder / tried.file
                whole = file.read_bytes()
                for mutant in mutants(
                    file.name, whole, count=each // 2 + each % 2 * (number == 0), seed=bench.seed + place
                ):
                    file.write_bytes(mutant.data)
                    _, fault = attempt(tried.words(folder), folder)
                    yield Trial("damaged input", f"{tried.file} ({folder.name}), {mutant.what}", fault)
                    shutil.rmtree(folder / "runs", ignore_errors=True)
                file.write_bytes(whole)


@contextlib.contextmanager
def _cheap() -> Iterator[None]:
    """Without an engine and without figures, which take seconds, and read no file."""
    engines = {"caffe": lambda: PyCaffe(command=(NO_ENGINE,))}
    with mock.patch("fer.report.build.render", lambda figure, kind: b"<svg/>"), mock.patch.dict(ENGINES, engines):
        yield


def _sealed(bench: Bench, folder: Path) -> Path:
    """All that INPUTS names."""
    folder.mkdir()
    shutil.copytree(bench.work / "data", folder / "data")
    shutil.copytree(bench.work / "exported", folder / "exported")
    shutil.copytree(bench.work / "runs" / bench.engines[0], folder / "run")
    for name in ("sample.csv", "net.prototxt", "solver.prototxt"):
        shutil.copy(bench.work / name, folder / name)
    face = np.random.default_rng(bench.seed).integers(0, 256, (48, 48), np.uint8)
    for name in ("face.png", "face.jpg"):
        cv2.imwrite(str(folder / name), face)
    return folder


def _open(folder: Path) -> Path:
    """Without the seals and hashes by which an edited file is known."""
    for file in ("run/run.json", "data/manifest.json", "exported/model.json", "run/scores/val_by_snapshot.json"):
        record = json.loads((folder / file).read_text())
        record.pop(SEAL, None)
        without: dict[str, object] = {"prototxt_sha256": {}, "log_sha256": None, "files": {}}
        record |= {name: value for name, value in without.items() if name in record}
        (folder / file).write_text(json.dumps(record))
    return folder


# ---- names


def hostile_names(bench: Bench, count: int) -> Iterator[Trial]:
    """Files and folders of `count` NAMES, given and found: each command ends well, no control character is shown."""
    face = cv2.imencode(".png", np.zeros((48, 48), np.uint8))[1].tobytes()
    for name in NAMES[:: -(-len(NAMES) // count)]:
        with emptied(bench.work / "names") as folder, _cheap():
            for words in _with_name(bench, folder, name, face):
                command, fault = attempt(words, folder)
                if list(folder.rglob("pwned")):
                    fault = "a shell ran it"
                yield Trial("hostile name", f"{name!a}: fer {words[0]}: {command.code}", fault)


def _with_name(bench: Bench, folder: Path, name: str, face: bytes) -> Iterator[Words]:
    yield bench.prepare(folder / name)
    yield ["predict", folder / name]
    yield ["report", folder / name]
    yield ["report", "--log", folder / name]
    yield [*bench.train(name, "caffe")]
    yield ["prepare", bench.work / "sample.csv", "--out", folder / "titled", f"--title={name}"]
    (folder / "photos").mkdir()
    for photo in (f"{name[:200]}.png", f"{name[:200]}broken.jpg"):
        (folder / "photos" / photo).write_bytes(face if photo.endswith("png") else b"no image")
    yield ["predict", folder / "photos", "--no-detect"]
    yield ["prepare", folder / "photos", "--out", folder / "from-photos"]


# ---- files that are swapped, and edits that nobody says


def swapped_files(bench: Bench) -> Iterator[Trial]:
    """Each is noticed: exit code 1, whatever reads the folder."""
    for what, change, read in SWAPS:
        with emptied(bench.work / "swapped") as work, _cheap():
            folder = _sealed(bench, work / "sealed")
            change(folder)
            for words in read:
                command, fault = attempt(words(folder), folder)
                known = command.code == 1 and NO_ENGINE not in command.said
                fault = fault or (None if known else f"unnoticed: {command.code}: {command.said[-300:]!r}")
                yield Trial("swapped or edited", f"{what}: fer {words(folder)[0]}", fault)


def _exchange(first: str, second: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / first).rename(folder / "aside")
        (folder / second).rename(folder / first)
        (folder / "aside").rename(folder / second)

    return change


def _flipped(file: str, at: int = -100) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = bytearray((folder / file).read_bytes())
        data[at] ^= 1
        (folder / file).write_bytes(data)

    return change


def _appended(file: str, text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with (folder / file).open("a") as stream:
            stream.write(text)

    return change


Swap = tuple[str, Callable[[Path], None], Sequence[Callable[[Path], Words]]]
SWAPS: tuple[Swap, ...] = (
    ("val and test databases exchanged", _exchange("data/val_lmdb", "data/test_lmdb"), [_train]),
    ("train and val databases exchanged", _exchange("data/train_lmdb", "data/val_lmdb"), [_train]),
    ("a bit of a database", _flipped("data/train_lmdb/data.mdb", 20_000), [_train]),
    ("a bit of the mean", _flipped("data/mean.binaryproto"), [_train]),
    ("a bit of the log", _flipped("run/train.log", 500), [_report]),
    ("the run's deploy edited", _appended("run/deploy.prototxt", "# edited\n"), [_report, _predict("run")]),
    ("the run's net edited", _appended("run/train_val.prototxt", "# edited\n"), [_report, _resume]),
    ("the run's solver edited", _appended("run/solver.prototxt", "# edited\n"), [_report, _resume]),
    ("an exported deploy edited", _appended("exported/deploy.prototxt", "# edited\n"), [_predict("exported")]),
    ("a bit of exported weights", _flipped("exported/weights.caffemodel"), [_predict("exported")]),
)  # fmt: skip

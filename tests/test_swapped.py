"""Files exchanged or edited behind fer's back: whoever reads them says so, and how to mend it."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import training

import fer
from fer.engines.registry import ENGINES
from fer.errors import FerError
from fer.evaluation.score import score_run
from fer.export.exported import export_run
from fer.inference.classifier import find_model
from fer.report.scored_run import read_scored_run
from fer.runs.run import Run
from fer.training.average_run import average_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Iterator[Path]:
    """A folder with a data directory and a scored run of 40 iterations of the fake engine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENGINES, "fake", training.fake_engine)
        patch.delitem(ENGINES, "tensorflow")
        folder = tmp_path_factory.mktemp("swapped")
        score_run(training.train_small(folder, shutil.copytree(data, folder / "data"), max_iter=40))
        yield folder


@pytest.fixture
def folder(whole: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same, and again as it was when the test ends."""
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    yield whole
    for path in [path for path in whole.rglob("*") if path.is_file() and path not in before]:
        path.unlink()
    for path, content in before.items():
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)


def flip(path: Path) -> None:
    """One bit in the middle, the file's times as before."""
    times, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def exchange(a: Path, b: Path) -> None:
    between = a.with_name("between")
    a.rename(between), b.rename(a), between.rename(b)


def rename_class(folder: Path) -> None:
    path = folder / "data" / "manifest.json"
    path.write_text(path.read_text().replace('"Happy"', '"Sad?"'))


def rename_class_by_design(folder: Path) -> None:
    """As the message says where the edit is meant: without the seal."""
    rename_class(folder)
    path = folder / "data" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["content_sha256"]
    path.write_text(json.dumps(manifest))


def better_log(folder: Path) -> None:
    path = folder / "runs" / "net-solver" / "train.log"
    path.write_text(path.read_text().replace("accuracy = 0.5", "accuracy = 0.9"))


UNVERIFIED = "snapshots/.unverified/net_iter_60.caffemodel"
RUN = Path("runs") / "net-solver"
NO_SEAL = "class names, without the seal"
EDITS: dict[str, tuple[Callable[[Path], object], str]] = {
    "val and test databases exchanged": (
        lambda f: exchange(f / "data" / "val_lmdb", f / "data" / "test_lmdb"), "data.mdb",
    ),
    "a bit of the training database": (lambda f: flip(f / "data/train_lmdb/data.mdb"), "train_lmdb/data.mdb"),
    "a bit of val's database": (lambda f: flip(f / "data/val_lmdb/data.mdb"), "val_lmdb/data.mdb"),
    "a bit of the mean": (lambda f: flip(f / "data/mean.binaryproto"), "mean.binaryproto"),
    "index edited": (lambda f: flip(f / "data/train.txt"), "train.txt"),
    "an image": (lambda f: flip(f / "data/val/00003.jpg"), "data/val: an image"),
    "two images exchanged": (
        lambda f: exchange(f / "data/val/00003.jpg", f / "data/val/00004.jpg"), "data/val: an image",
    ),
    "class names": (rename_class, "manifest.json: edited"),
    NO_SEAL: (rename_class_by_design, "manifest.json has changed since"),
    "deploy": (lambda f: flip(f / RUN / "deploy.prototxt"), "deploy.prototxt"),
    "net": (lambda f: flip(f / RUN / "train_val.prototxt"), "train_val.prototxt"),
    "solver": (lambda f: flip(f / RUN / "solver.prototxt"), "solver.prototxt"),
    "log": (better_log, "train.log"),
    "weights": (lambda f: flip(f / RUN / "snapshots/net_iter_40.caffemodel"), "net_iter_40.caffemodel"),
    "record": (lambda f: change(f / RUN / "run.json", iteration=39), "run.json: edited"),
}  # fmt: skip
DATABASES = {"val and test databases exchanged", "a bit of the training database", "a bit of val's database"}
DATA = {*DATABASES, "a bit of the mean", "index edited", "an image", "two images exchanged", "class names"}
OF_RUN = {"deploy", "net", "solver", "log", "record"}
READERS: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "train": (lambda f: training.train_small(f, f / "data", max_iter=20), DATA),
    "resume": (
        lambda f: training.resume(f / RUN, max_iter=60), {*DATABASES, "a bit of the mean", *OF_RUN},
    ),
    "report": (lambda f: score_run(Run(f / RUN)), {*DATA, *OF_RUN, "weights", NO_SEAL}),
    "read": (lambda f: read_scored_run(Run(f / RUN)), OF_RUN),
    "average": (lambda f: average_run(Run(f / RUN)), {*DATABASES, "a bit of the mean", *OF_RUN, "weights"}),
    "export": (lambda f: export_run(Run(f / RUN), f / "out", forms=()), {*DATA, *OF_RUN, "weights", NO_SEAL}),
    "predict": (lambda f: find_model(f / RUN), {"a bit of the mean", "class names", NO_SEAL, *OF_RUN}),
    "notebook": (lambda f: fer.open_run(f / RUN).curves, OF_RUN),
}  # fmt: skip


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("edit", EDITS)
def test_whoever_reads_what_was_edited_names_it(folder: Path, edit: str, fake: None) -> None:
    do, named = EDITS[edit]
    do(folder)
    concerned = {name: read for name, (read, of) in READERS.items() if edit in of}
    assert concerned
    for read in concerned.values():
        with pytest.raises(FerError, match=re.escape(named)) as error:
            read(folder)
        assert re.search(r"prepare|put it back|Put it back|score another", str(error.value)), error.value
    assert not (folder / "out").exists() and len(list((folder / "runs").iterdir())) == 1


def test_what_was_not_edited_is_read(folder: Path, fake: None) -> None:
    score_run(Run(folder / RUN))
    assert read_scored_run(Run(folder / RUN)).run.record.log_sha256
    assert find_model(folder / RUN).classes[3] == "Happy"
    assert len(fer.open_run(folder / RUN).curves) > 2


def test_the_log_has_a_hash_from_one_ending_to_the_next_beginning(folder: Path, fake: None) -> None:
    before = Run(folder / RUN).record.log_sha256
    seen: list[str | None] = []
    run = training.resume(
        folder / RUN, max_iter=60, progress=lambda event: seen.append(Run(folder / RUN).record.log_sha256)
    )
    assert run.record.log_sha256 not in (None, before) and None in seen and run.record.log_sha256 not in seen


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("net", "../../outside", "net"),
        ("net", "..", "net"),
        ("name", "a/b", "name"),
        ("prototxt_sha256", {"../solver.prototxt": ""}, "no name of a file"),
        ("snapshots", {"20": {"weights": {"sha256": "", "file": "../x.caffemodel"}}}, "leads out of its folder"),
        ("snapshots", {"20": {"weights": {"sha256": "", "file": "/etc/passwd"}}}, "leads out of its folder"),
        ("snapshots", {"20": {"weights": {"sha256": "", "file": "snapshots//x"}}}, "leads out of its folder"),
    ],
)
def test_names_that_lead_out_of_a_run_are_refused(folder: Path, field: str, value: Any, message: str) -> None:
    change(folder / RUN / "run.json", **{field: value})
    with pytest.raises(FerError, match=rf"run\.json: damaged: .*{message}|is no name of a file"):
        Run(folder / RUN)


@pytest.mark.parametrize("field", ["files", "images"])
def test_names_that_lead_out_of_a_data_directory_are_refused(folder: Path, field: str) -> None:
    path = folder / "data" / "manifest.json"
    entries = json.loads(path.read_text())[field]
    change(path, **{field: {"../other": next(iter(entries.values()))}})
    with pytest.raises(FerError, match=r"manifest\.json: damaged: .*leads out of its folder"):
        find_model(folder / RUN)


@pytest.mark.parametrize("name", ["snapshots", "snapshots/.unverified", "scores", "report", "train.log", UNVERIFIED])
def test_folders_of_a_run_that_are_links_to_elsewhere_are_refused(folder: Path, tmp_path: Path, name: str) -> None:
    run = shutil.copytree(folder / RUN, tmp_path / "run")
    (run / "report").mkdir()
    (run / UNVERIFIED).write_text("")
    shutil.move(run / name, tmp_path / "elsewhere")
    (run / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FerError, match="is a link that leads out of the run directory"):
        Run(run)
    shutil.move(tmp_path / "elsewhere", run / "within")
    (run / name).unlink()
    (run / name).symlink_to(run / "within")
    Run(run)

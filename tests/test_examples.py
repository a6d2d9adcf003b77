"""Every command that a --help, the README or a "Next:" shows is one that works: parsed from there, and run.

With real engines on drawn faces; trainings are cut to two iterations of two images. A run that a command wants is a
short one of LeNet under that name.
"""

import importlib.util
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import test_caffe_build

import fer.commands
import fer.training.train
from fer import cli
from fer.data.classes import CLASSES
from fer.formats.database import read_mean
from fer.nets.zoo import find_net, find_solver
from fer.system.hashes import file_hash
from fer.training.preflight.plan import Plan, preflight

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = sorted(
    path.stem.rstrip("_") for path in Path(fer.commands.__file__).parent.glob("*.py") if "SUMMARY" in path.read_text()
)
# What a reader puts in, and numbers that a short run has not.
PUT_IN = {"NET-SOLVER": "lenet-s2", "NET": "lenet", "SOLVER": "s2", "N": "2", "20000": "1"}
# Where the hardware, a build of Caffe or a device's toolchain is not there, what is said of it.
WITHOUT = {
    "--gpu": "PyTorch cannot use it",
    "--webcam": "webcam 0: cannot be opened",
    "caffe": "Caffe does not train BatchNorm",
    "board": "fer board needs",
    "--format": "must be fetched first",
    "--runtime": "must be fetched first",
    "--compare": "fer export RUN --format NAME",
}


def commands_in(text: str) -> Iterator[str]:
    """Lines that begin with `fer` in an indented block; a backslash goes on, what is in brackets may be left out."""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if found := re.match(r" {2,}(?:\$ )?(fer .*)", line):
            words = re.sub(r"\[.*?\]", "", re.split(r" {3,}(?![-\w/]*=)", found[1].strip() + "   ")[0])
            yield shlex.join(PUT_IN.get(part, part) for part in _put_in(shlex.split(words, comments=True)))


def _put_in(words: list[str]) -> Iterator[str]:
    for word in words:
        for name, value in PUT_IN.items():
            word = re.sub(rf"(?<![\w.]){name}(?![\w.])", value, word)
        yield word


def shown() -> list[str]:
    readmes = [ROOT / "README.md", *sorted(ROOT.glob("fer/*/README.md")), ROOT / "scripts" / "README.md"]
    texts = [cli.MAIN_HELP, *(path.read_text(encoding="utf-8") for path in readmes)]
    texts += [module.HELP for module in cli.COMMANDS.values()]
    return list(dict.fromkeys(itertools.chain.from_iterable(map(commands_in, texts))))


EXAMPLES = shown()


def test_all_commands_have_examples() -> None:
    assert {shlex.split(example)[1] for example in EXAMPLES} == set(COMMANDS) and len(EXAMPLES) > 40


NETS = itertools.chain.from_iterable(
    commands_in(path.read_text()) for path in sorted(ROOT.glob("prototxt/*/README.md"))
)


@pytest.mark.parametrize("example", list(dict.fromkeys([*EXAMPLES, *NETS])))
def test_an_example_is_of_options_that_there_are(example: str) -> None:
    cli._parser().parse_args(shlex.split(example)[1:])


def short(preflight: Callable[..., Plan]) -> Callable[..., Plan]:
    """The plan, of two iterations with a snapshot and a test each, and two images a batch."""

    def planned(*args: object, **options: object) -> Plan:
        plan = preflight(*args, **options)
        solver = plan.solver
        solver.max_iter, solver.snapshot, solver.test_interval, solver.display = 2, 1, 1, 1
        solver.test_iter[:] = [1] * len(solver.test_iter)
        for layer in plan.net.layer:
            if layer.type == "Data":
                layer.data_param.batch_size = 2
        return replace(plan, batch_size=2)

    return planned


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with all that the examples name."""
    folder = tmp_path_factory.mktemp("desk")
    sample: list[str | Path] = [
        sys.executable,
        ROOT / "scripts" / "make_sample.py",
        "fer2013.csv",
        "--train",
        "2",
        "--test",
        "1",
    ]
    subprocess.run(sample, cwd=folder, check=True, capture_output=True)
    shutil.make_archive(str(folder / "archive"), "zip", folder, "fer2013.csv")
    shutil.copy(ROOT / "tests" / "golden" / "bvlc_wheel.log", folder / "caffe.log")
    weights = "fer/inference/model/weights.caffemodel"
    for source, name in ((ROOT / weights, weights), (ROOT / weights, "vgg8.caffemodel"),
                         (find_solver("vgg8", "s2"), "prototxt/vgg8/solver_s2.prototxt")):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / name)
    (folder / "my").mkdir()
    shutil.copy(find_net("lenet"), folder / "my" / "train_val.prototxt")
    shutil.copy(find_solver("lenet", "s2"), folder / "my" / "solver.prototxt")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("fer.training.train.preflight", short(preflight))
        patch.setattr("fer.report.build.render", lambda figure, kind: b"a picture")
        if importlib.util.find_spec("uvicorn"):  # the board would not end by itself
            patch.setattr("fer.board.server.Server.run", lambda server: server._socket.close())
            patch.setattr("webbrowser.open", lambda address: True)
        patch.setattr("fer.export.tool.Tool.is_there", lambda tool: False)  # tests/test_forms.py has them
        # A build takes minutes: `make caffe-test` makes one.
        patch.setenv("FER_CAFFE_BUILDS", str(folder / "builds"))
        patch.setattr("fer.engines.caffe_build.build.build", lambda *_: [test_caffe_build.put("gpu")])
        assert cli.main(["prepare", "fer2013.csv"]) == 0
        shutil.copytree("data/fer2013", "data/sample")
        draw_pictures(folder)
        draw_sources(folder)
        assert cli.main(["train", "--net", "lenet", "--solver", "s2", "--name", "short"]) == 0
        assert cli.main(["report", "runs/short", "--ten-crop"]) == 0  # so that its copies need no engine
        assert cli.main(["train", "--net", "vgg8", "--solver", "s1", "--name", "vgg8-warm"]) == 0
        assert cli.main(["report", "runs/vgg8-warm", "--val-only"]) == 0
        make_elsewhere(folder)
        make_runs(folder / "runs")
        yield folder


def draw_pictures(folder: Path) -> None:
    face = cv2.imread(str(next((folder / "data" / "sample" / "val").glob("*.jpg"))))
    assert face is not None
    (folder / "holiday").mkdir()
    for name in ("photo.jpg", "face.png", "holiday/one.jpg", "data/sample/val/00004.jpg"):
        cv2.imwrite(str(folder / name), face)
    video = cv2.VideoWriter(str(folder / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 5, (48, 48))
    for _ in range(3):
        video.write(np.ascontiguousarray(face))
    video.release()


def make_elsewhere(folder: Path) -> None:
    """What fer import is given: the short run of LeNet as a folder, a job of DIGITS, and a deploy net by itself."""
    short, old = folder / "runs" / "short", folder / "old-training"
    shutil.copytree(short / "snapshots", old, ignore=shutil.ignore_patterns(".*"))
    for name in ("train_val.prototxt", "solver.prototxt", "train.log"):
        shutil.copy(short / name, old)
    shutil.copy(folder / "data" / "sample" / "mean.binaryproto", old)
    shutil.copytree(old, folder / "job")
    (folder / "labels.txt").write_text("\n".join(CLASSES))
    shutil.copy(folder / "labels.txt", folder / "job")
    shutil.make_archive(str(folder / "job"), "gztar", folder, "job")
    shutil.copy(short / "deploy.prototxt", folder)
    shutil.copy(short / "snapshots" / "lenet_iter_2.caffemodel", folder / "weights.caffemodel")
    np.save(folder / "mean.npy", read_mean(old / "mean.binaryproto"))


def draw_sources(folder: Path) -> None:
    """Class folders without splits, others that count from 1, and votes on the faces of the CSV."""
    faces = sorted((folder / "data" / "sample").glob("*/*.jpg"))
    for kind in ("anger", "contempt", "happy"):
        (folder / "CK+48" / kind).mkdir(parents=True)
        for person, face in enumerate(faces[:5]):
            shutil.copy(face, folder / "CK+48" / kind / f"S{person:03d}_{face.name}")
    for split, code in itertools.product(("train", "test"), range(1, 8)):
        (folder / "RAF-DB" / split / str(code)).mkdir(parents=True)
        for face in faces[:2]:
            shutil.copy(face, folder / "RAF-DB" / split / str(code) / face.name)
    order = (4, 5, 6, 1, 3, 2, 0)  # of FER2013's labels among FER+'s columns
    lines = ["Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"]
    for row, text in enumerate((folder / "fer2013.csv").read_text().splitlines()[1:]):
        votes = [0] * 10
        votes[order[int(text[0])]] = 10
        if row == 0:
            votes = [0] * 7 + [10, 0, 0]
        lines.append(",".join([text.rpartition(",")[2], f"fer{row:07d}.png", *map(str, votes)]))
    (folder / "fer2013new.csv").write_text("\n".join(lines) + "\n")


def make_runs(runs: Path) -> None:
    """Each run that an example names: the short one, stopped on its way to four iterations; of teachers VGG8's."""
    names, teachers = (
        set(re.findall(r"\bruns/([\w-]+)", "\n".join(example for example in EXAMPLES if wanted in example)))
        for wanted in ("", "--teachers")
    )
    for name in sorted(teachers):
        shutil.copytree(runs / "vgg8-warm", runs / name)
    for name in sorted(names - teachers - {"vgg8-warm"}):
        shutil.copytree(runs / "short", runs / name)
        record = runs / name / "run.json"
        info = json.loads(record.read_text()) | {"name": name, "state": "interrupted", "max_iter": 4}
        solver = runs / name / "solver.prototxt"
        solver.write_text(solver.read_text().replace("max_iter: 2", "max_iter: 4"))
        info["prototxt_sha256"]["solver.prototxt"] = file_hash(solver)
        del info["content_sha256"]  # the edit is meant
        record.write_text(json.dumps(info))
    warm = runs / "vgg8-warm" / "snapshots"
    shutil.copy(warm / "vgg8_iter_2.caffemodel", warm / "vgg8_iter_450.caffemodel")


@pytest.mark.full
@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_works(example: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(example)[1:]
    # What an example before it has made: the solver of fer schedule, or a student's net.
    for needed in (word for word in words if word.endswith(".prototxt") and words[0] == "train"):
        if not Path(needed).exists():
            made = (each for each in EXAMPLES if f"schedule {needed}" in each or f"--out {needed}" in each)
            assert cli.main(shlex.split(next(made))[1:]) == 0
    if example == "fer caffe remove gpu":
        test_caffe_build.put("gpu")
    if "--copy" in words:  # which a Next: before it may have made
        shutil.rmtree(words[words.index("--copy") + 1], ignore_errors=True)
    code = cli.main(words)
    said = capsys.readouterr()
    if code and (missing := [text for option, text in WITHOUT.items() if option in words]):
        assert code == 1 and missing[0] in said.err
        return
    assert code == 0, said.err
    for following in re.findall(r"Next: (fer .*)", said.out):
        follow(shlex.split(following)[1:], capsys)


followed: set[str] = set()


def follow(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Run a "Next:", once of each kind."""
    kind = f"{words[0]} {[word for word in words if word.startswith('-')]}"
    if kind not in followed:
        followed.add(kind)
        code, said = cli.main(words), capsys.readouterr()
        assert code == 0 or ("caffe" in words and WITHOUT["caffe"] in said.err), said.err


@pytest.mark.full
def test_each_kind_of_next_was_followed(desk: Path) -> None:
    assert {kind.split()[0] for kind in followed} == {"train", "report", "nets"}

"""Damaged files, the same each time: every reader gives an answer or one clear error, and none crashes."""

import os
import re
import resource
import shutil
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import made_model
import pytest
from torture_mutations import OF_BYTES, OF_KIND, mutants

from fer import cli
from fer.data.directory import verify_data
from fer.data.leaks import FINGERPRINTS, read_fingerprints
from fer.data.manifest import MANIFEST, read_manifest
from fer.engines.core.sidecar import read_seed, write_sidecar
from fer.engines.core.weights import SolverState, read_model, read_state, write_state
from fer.engines.pytorch.net import Net
from fer.engines.pytorch.registry import Context, Seeds
from fer.engines.registry import ENGINES
from fer.errors import FerError
from fer.export.exported import export_run
from fer.formats.blobs import from_blob
from fer.formats.database import check_database, read_mean
from fer.formats.log import parse_log
from fer.formats.prototxt import read_net, read_solver, read_weights
from fer.inference.classifier import find_model
from fer.inference.model_record import MODEL_JSON, read_model_json
from fer.nets.deploy import derive_deploy
from fer.nets.lint import KNOWN_LAYERS, lint_net
from fer.nets.shapes import infer_shapes
from fer.nets.solver_lint import lint_solver
from fer.report.curves import make_curves
from fer.runs.run import RUN_JSON, Run
from fer.runs.scores import ScoresBySnapshot, read_scores
from fer.runs.snapshots import learnable_blobs, verify_extra, verify_state, verify_weights
from fer.system.records import read_record

GOLDEN = Path(__file__).parent / "golden"
COUNT = 40
MEMORY = 4 << 30  # beside what the process has already


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with one file of every format that fer reads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENGINES, "pytorch", made_model.here)
        patch.delitem(ENGINES, "caffe")
        patch.delitem(ENGINES, "tensorflow")
        folder = tmp_path_factory.mktemp("whole")
        run = made_model.make_run(folder)
        export_run(run, folder / "exported", forms=())
        net = Net(read_net(run.net), Context("TRAIN", seeds=Seeds(1)))
        weights = run.weights_file(1)
        blobs = [from_blob(blob, "") for _, _, blob in learnable_blobs(read_weights(weights))]
        write_state(run.state_file(1), SolverState(1, weights.name, 0, blobs))
        write_sidecar(run.extra_file(1), 1, 1, net, [net.state()])
        shutil.copy(GOLDEN / "nvcaffe.log", run.log)
        (run.solver).write_text(
            'net: "train_val.prototxt"\nbase_lr: 0.01\nlr_policy: "step"\ngamma: 0.5\nstepsize: 9\n'
        )
        yield folder


def read_weights_of(run: Run) -> None:
    shapes = infer_shapes(read_net(run.net)).params
    weights = verify_weights(run.weights_file(1), shapes)
    verify_state(run.state_file(1), 1, weights, "SGD")


def read_run(run: Run) -> None:
    for snapshot in (*run.snapshots(), *run.averages()):
        assert snapshot.files and snapshot.name
    _ = run.name, run.record.settings


def read_net_of_training(path: Path) -> None:
    lint_net(read_net(path), path, KNOWN_LAYERS)
    infer_shapes(derive_deploy(read_net(path), (1, 48, 48)))


def read_extra(path: Path) -> None:
    read_seed(path)
    verify_extra(path, 1)


def read_snapshot(path: Path, read: Callable[[Path], object]) -> None:
    """By the engine, and by who takes it into the run."""
    read_weights_of(Run(path.parent.parent))
    read(path)


RUN = "runs/small-s1"
SNAPSHOT = f"{RUN}/snapshots/small_iter_1"
READERS: dict[str, Callable[[Path], object]] = {
    f"{RUN}/{RUN_JSON}": lambda path: read_run(Run(path.parent)),
    f"data/{MANIFEST}": lambda path: read_manifest(path.parent),
    f"exported/{MODEL_JSON}": lambda path: find_model(path.parent) and read_model_json(path.parent),
    f"{RUN}/scores/val.npz": read_scores,
    f"{RUN}/scores/val_by_snapshot.json": lambda path: read_record(path, ScoresBySnapshot),
    f"{RUN}/train.log": lambda path: make_curves(parse_log(path)),
    f"{RUN}/solver.prototxt": lambda path: lint_solver(read_solver(path), path),
    f"{RUN}/train_val.prototxt": lambda path: read_net_of_training(path),
    f"{RUN}/deploy.prototxt": lambda path: infer_shapes(read_net(path)),
    f"{SNAPSHOT}.caffemodel": lambda path: read_snapshot(path, read_model),
    f"{SNAPSHOT}.solverstate": lambda path: read_snapshot(path, read_state),
    f"{SNAPSHOT}.fer.npz": read_extra,
    "data/mean.binaryproto": read_mean,
    "data/val_lmdb/data.mdb": lambda path: check_database(path.parent, 7),
    f"data/{FINGERPRINTS}": read_fingerprints,
    "data/train.txt": lambda path: verify_data(path.parent),
}


def attempt(read: Callable[[Path], object], path: Path) -> str | None:
    """What is wrong with how a reader ended; None where it answered, or said what is wrong in a FerError."""
    try:
        read(path)
    except FerError as error:
        return None if str(error) else "an error without a word"
    except BaseException:
        return traceback.format_exc(limit=-2)
    return None


@pytest.mark.parametrize("name", READERS)
def test_no_damaged_file_is_more_than_an_error(whole: Path, name: str) -> None:
    """In a process of its own, as LMDB is C; what it ends at is told by the last line it wrote."""
    path, said = whole / name, whole / "said"
    content = path.read_bytes()
    child = os.fork()
    if not child:
        faults = 1
        try:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
            with said.open("w", errors="replace") as stream:
                faults = 0
                for mutant in mutants(path.name, content, count=COUNT, seed=1):
                    path.write_bytes(mutant.data)
                    print(mutant.what, file=stream, flush=True)
                    if fault := attempt(READERS[name], path):
                        faults += 1
                        print(fault, file=stream, flush=True)
        finally:
            os._exit(min(faults, 100))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    path.write_bytes(content)
    assert status == 0, said.read_text()[-3000:]


def cut(record: bytes) -> bytes:
    return record[: len(record) // 2]


def first_number(value: bytes) -> Callable[[bytes], bytes]:
    """Puts a value in the place of the record's first whole number, and takes its seal out."""
    return lambda record: re.sub(rb": [0-9]+(?=[,\n])", b": " + value, without_seal(record), count=1)


def without_seal(record: bytes) -> bytes:
    return record.replace(b'"content_sha256"', b'"was_sealed"')


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": cut,
    "emptied": lambda record: b"",
    "a list": lambda record: b"[" + record + b"]",
    "huge": first_number(b"1" + b"0" * 400),
    "nan": first_number(b"NaN"),
    "null": first_number(b"null"),
    "no text": lambda record: re.sub(rb': "[^"]*"', rb': "\\ud800"', without_seal(record), count=1),
    "names elsewhere": lambda record: re.sub(rb': "[^"]*"', rb': "../../x"', without_seal(record)),
}


def figures(said: str) -> str:
    """Without the hash of what a report was made from."""
    return re.sub(r'"made_from": "\w*"', "", said)


COMMANDS: dict[str, list[list[str]]] = {
    f"{RUN}/{RUN_JSON}": [
        ["runs", "runs"], ["report", RUN], ["predict", "--model", RUN, "data/val/00000.jpg"], ["export", RUN],
        ["train", "--resume", RUN], ["average", RUN],
    ],
    f"data/{MANIFEST}": [
        ["report", RUN], ["predict", "--model", RUN, "data/val/00000.jpg"],
        ["infogain", "out.binaryproto", "--balance", "data"],
    ],
    f"exported/{MODEL_JSON}": [["predict", "--model", "exported", "data/val/00000.jpg"]],
    f"exported/{RUN_JSON}": [["predict", "--model", "exported", "data/val/00000.jpg"], ["report", "exported"]],
    f"{RUN}/scores/val.npz": [["report", RUN, "--json"]],
    f"{RUN}/scores/val_by_snapshot.json": [["report", RUN, "--json"], ["runs", "runs"]],
    f"{RUN}/scores/in_training.json": [["report", RUN, "--json"]],
    f"{RUN}/report/metrics.json": [["report", RUN, "--json"], ["runs", "runs"]],
}  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("name", COMMANDS)
def test_a_damaged_record_is_an_error_of_a_few_lines_or_changes_nothing(
    whole: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(whole)
    monkeypatch.setattr("fer.report.build.curve_figures", lambda *_: {})
    monkeypatch.setattr("fer.report.build.run_figures", lambda *_: {})
    assert cli.main(["report", RUN, "--json"]) == 0
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    expected: dict[tuple[str, ...], str] = {}
    capsys.readouterr()
    for command in COMMANDS[name]:
        if cli.main(command) == 0:
            expected[tuple(command)] = figures(capsys.readouterr().out)
    for damage, do in DAMAGES.items():
        for command in COMMANDS[name]:
            (whole / name).write_bytes(do(before[whole / name]))
            code, (out, said) = cli.main(command), capsys.readouterr()
            assert code in (0, 1), (damage, command, said)
            assert len(said.splitlines()) <= 3 and max(map(len, said.splitlines()), default=0) <= 300, (damage, said)
            if code == 0:
                assert figures(out) == expected[tuple(command)], (damage, command, said)
            else:
                assert said.startswith("error: "), (damage, command, said)
            for path, content in before.items():
                path.write_bytes(content)


def test_the_same_seed_gives_the_same_damage(whole: Path) -> None:
    for name in READERS:
        data = (whole / name).read_bytes()
        few, many, other = ([*mutants(name, data, count=n, seed=s)] for n, s in ((20, 1), (30, 1), (20, 2)))
        assert few == many[:20] and few != other
        assert sum(mutant.data != data for mutant in few) >= 15


def test_damage_knows_each_kind_of_file(whole: Path) -> None:
    endings = {Path(name).suffix for name in READERS}
    assert endings <= set(OF_KIND) and OF_BYTES

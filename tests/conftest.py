"""Fixtures that several test modules share, and what makes the tests quick."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import numpy as np
import pytest
import training
import warm
from hypothesis import settings

from fer.engines.caffe_build.builds import build_in
from fer.engines.caffe_build.proof import engine_of
from fer.engines.interpreter import WORKER, CaffePython, find_wheel
from fer.engines.registry import ENGINES
from fer.formats.database import encode_datum, write_mean

LONGEST = [
    "test_pytorch_agreement",
    "test_gpu_day",
    "test_speedrun",
    "test_pytorch_graph",
    "test_examples",
    "test_worker",
]
IN_ORDER = tuple(ENGINES)
ROOT = Path(__file__).resolve().parent.parent
FER2013_CSV_WRITER = ROOT.parent / "shared" / "fer2013" / "write_csv.py"

# How long an example takes tells of the machine.
settings.register_profile("fer", deadline=None)
settings.load_profile("fer")
# The tests start hundreds of processes, which would all compile fer's modules and Caffe's anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# The wheel's Caffe is the one that the tests train with, whatever the user has built.
os.environ["FER_CAFFE_BUILDS"] = os.devnull
# Where each core has a worker of pytest's, more threads only wait for each other. Read when a framework is imported.
os.environ |= {"OMP_NUM_THREADS": "1", "FER_TORCH_THREADS": "1", "FER_TENSORFLOW_THREADS": "1"}
os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=1, help="of the weights and images that both engines are given")
    built = "a folder made by `fer caffe build`: real Caffe to compare with besides the wheel's"
    parser.addoption("--caffe-build", type=Path, metavar="DIR", action="append", default=[], help=built)
    parser.addoption(
        "--exports", action="store_true", help="every form that fer exports, not those alone that CI proves"
    )
    parser.addoption("--caffe-source", type=Path, metavar="DIR", help="BVLC Caffe's sources")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that compares with real `caffe` does so with each that is at hand, the wheel's and builds; one of a
    `form_name`, or an `integer_form`, runs for each form."""
    for fixture in {"form_name", "integer_form"}.intersection(metafunc.fixturenames):
        metafunc.parametrize(fixture, form_names(metafunc.config, integers=fixture == "integer_form"))
    if "caffe" in metafunc.fixturenames:
        builds: list[Path] = metafunc.config.getoption("--caffe-build")
        ids = ["wheel", *(build.name for build in builds)]
        metafunc.parametrize("caffe", [None, *builds], indirect=True, scope="session", ids=ids)


def form_names(config: pytest.Config, *, integers: bool = False) -> list[str]:
    """The forms for devices whose tools are small, or with --exports all; or of them those in integers alone."""
    from fer.export.forms import FORMS

    names = list(FORMS)[1:] if config.getoption("--exports") else ["onnx-int8", "ncnn", "ncnn-int8", "openvino"]
    return [name for name in names if FORMS[name].integers or not integers]


@pytest.fixture(scope="session")
def proved_forms(request: pytest.FixtureRequest) -> list[str]:
    """The names of all that a `form_name` may be."""
    return form_names(request.config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest go first, so that no worker is left with one of them while the others are idle."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def caffe(request: pytest.FixtureRequest) -> CaffePython:
    """The Python of a real Caffe; a test with it runs for each that is at hand."""
    if request.param is None:
        return find_wheel()
    engine = engine_of(build_in(request.param.absolute()))
    return CaffePython(Path(engine.command[0]), "a build", dict(engine.environment), build=request.param)


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """What stands behind the numbers drawn for comparisons with real Caffe: `pytest --seed 2` draws others."""
    drawn_from: int = request.config.getoption("--seed")
    return drawn_from


def write_fer2013(path: Path, *options: str) -> Path:
    """Write the real FER2013 as Kaggle's CSV, or skip the test where the data set is not there."""
    if not FER2013_CSV_WRITER.exists():
        pytest.skip("the real FER2013 is not beside this repository (../shared/fer2013)")
    subprocess.run([sys.executable, FER2013_CSV_WRITER, path, *options], check=True)
    return path


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], Path]], Path]:
    """What `make` makes in a folder of that name, made by the first of pytest's workers that wants it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def made(name: str, make: Callable[[Path], Path]) -> Path:
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            told = shared / f"{name}.txt"
            if not told.exists():
                (shared / name).mkdir(exist_ok=True)
                told.write_text(str(make(shared / name)))
            return Path(told.read_text())

    return made


@pytest.fixture(scope="session")
def fer2013_csv(once: Callable[..., Path]) -> Path:
    """200 real rows of each split in Kaggle's format."""
    return once("fer2013", lambda folder: write_fer2013(folder / "fer2013.csv", "--per-split", "200"))


@pytest.fixture(scope="session")
def fer2013_csv_whole(once: Callable[..., Path]) -> Path:
    """The whole real FER2013 (35,887 rows, 301 MB) in Kaggle's format."""
    return once("fer2013-whole", lambda folder: write_fer2013(folder / "fer2013.csv"))


@pytest.fixture(scope="session")
def data(once: Callable[..., Path]) -> Path:
    """A small data directory of drawn faces, for reading."""
    return once("data", training.make_data)


ENGINES_PARTS = {
    (str(WORKER),): ["caffe", "numpy"],
    ("-m", "fer.engines.pytorch"): ["fer.engines.core.tool", "fer.engines.pytorch.backend", "fer.engines.pytorch.cpu"],
    (str(training.FAKE),): ["numpy", "fer.formats.log_lines", "fer.nets.lint"],
}


@pytest.fixture(autouse=True)
def engines_in_order() -> None:
    """An engine that a test had taken away is put back behind the others."""
    for name in [name for name in IN_ORDER if name in ENGINES]:
        ENGINES[name] = ENGINES.pop(name)


@pytest.fixture(autouse=True, scope="session")
def warm_engines() -> Iterator[None]:
    """What the tests' own process starts of engines has its imports behind it; what other processes start has not."""
    engines = warm.Warm(ENGINES_PARTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fer.engines.process.subprocess", engines)
        yield
    engines.close()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine named "fake", and no variable of the shell's that would decide anything."""
    monkeypatch.setitem(ENGINES, "fake", training.fake_engine)
    ours = [f"FER_{name}" for name in ("CAFFE", "CAFFE_PYTHON", "TORCH_THREADS", "TENSORFLOW_THREADS")]
    for name in (*ours, *(f"FAKE_{name}" for name in ("FAULT", "SECONDS", "ARGV", "ACCURACIES"))):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def random_data(tmp_path: Path, seed: int) -> Callable[[int], Path]:
    """A folder of random images with the databases and the mean that a run needs; a function of their side."""

    def make(size: int) -> Path:
        generator = np.random.default_rng(seed)
        for name in ("train_lmdb", "val_lmdb"):
            environment = lmdb.open(str(tmp_path / name), map_size=1 << 24)
            with environment.begin(write=True) as transaction:
                for i in range(7):
                    image = generator.integers(0, 256, (1, size, size), np.uint8)
                    transaction.put(f"{i:08d}_{i:05d}.jpg".encode(), encode_datum(image, i))
            environment.close()
        write_mean(tmp_path / "mean.binaryproto", np.full((1, size, size), 127.5))
        return tmp_path

    return make

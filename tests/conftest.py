"""Fixtures that several test modules share."""

import subprocess
import sys
from pathlib import Path

import pytest
import training

from fer.engines import ENGINES

ROOT = Path(__file__).resolve().parent.parent
FER2013_CSV_WRITER = ROOT.parent / "shared" / "fer2013" / "write_csv.py"


def write_fer2013(path: Path, *options: str) -> Path:
    """Write the real FER2013 as Kaggle's CSV, or skip the test where the data set is not there."""
    if not FER2013_CSV_WRITER.exists():
        pytest.skip("the real FER2013 is not beside this repository (../shared/fer2013)")
    subprocess.run([sys.executable, FER2013_CSV_WRITER, path, *options], check=True)
    return path


@pytest.fixture(scope="session")
def fer2013_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 real rows of each split in Kaggle's format."""
    return write_fer2013(tmp_path_factory.mktemp("fer2013") / "fer2013.csv", "--per-split", "200")


@pytest.fixture(scope="session")
def fer2013_csv_whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole real FER2013 (35,887 rows, 301 MB) in Kaggle's format."""
    return write_fer2013(tmp_path_factory.mktemp("fer2013") / "fer2013.csv")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data directory of drawn faces, for reading."""
    return training.make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine named "fake", and no variable of the shell's that would decide anything."""
    monkeypatch.setitem(ENGINES, "fake", training.fake_engine)
    for name in ("FER_CAFFE", "FER_CAFFE_PYTHON", "FAKE_FAULT", "FAKE_SECONDS", "FAKE_ARGV", "FER_TORCH_THREADS"):
        monkeypatch.delenv(name, raising=False)

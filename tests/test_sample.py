"""The drawn sample: FER2013's format, seven classes in three splits, the same for the same seed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sample_csv import read

from fer.data.source import open_source
from fer.system.workers import Workers

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "make_sample.py"


def make(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, path, *options], capture_output=True, text=True, check=False)


def test_sample_is_a_source(tmp_path: Path) -> None:
    done = make(tmp_path / "sample.csv", "--train", "4", "--test", "2")
    assert done.returncode == 0 and "56 drawn faces" in done.stdout
    found = read(tmp_path / "sample.csv")
    counts = {usage: [0] * 7 for usage in ("Training", "PublicTest", "PrivateTest")}
    for sample in found:
        counts[sample.split.value][sample.label] += 1
    assert counts == {"Training": [4] * 7, "PublicTest": [2] * 7, "PrivateTest": [2] * 7}
    assert len({sample.pixels.tobytes() for sample in found}) == 56
    assert min(float(sample.pixels.std()) for sample in found) > 5
    assert [path.name for path in tmp_path.iterdir()] == ["sample.csv"]


def test_seed_decides(tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert make(tmp_path / name, "--train", "1", "--test", "1", "--seed", seed).returncode == 0
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_bad_option_is_refused(tmp_path: Path) -> None:
    done = make(tmp_path / "sample.csv", "--train", "0")
    assert done.returncode == 2 and "at least 1" in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.full
def test_sample_can_be_learnt_and_is_not_trivial(tmp_path: Path) -> None:
    """A linear model of the pixels is far above chance (1/7) and far from all right: a network has something to do."""
    from sklearn.linear_model import RidgeClassifier

    assert make(tmp_path / "sample.csv").returncode == 0
    with Workers(0) as workers, open_source(tmp_path / "sample.csv", workers) as faces:
        batches = list(faces.batches)
    splits, labels = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("splits", "labels"))
    pixels = np.concatenate([batch.pixels for batch in batches]).reshape(len(labels), -1) / 255.0
    model = RidgeClassifier(alpha=300.0).fit(pixels[splits == 0], labels[splits == 0])
    assert 0.25 < model.score(pixels[splits != 0], labels[splits != 0]) < 0.75

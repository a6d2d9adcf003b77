"""The script that writes the larger nets: what is committed is what it writes; the Augment layer by one option."""

import subprocess
import sys
from pathlib import Path

import pytest

from fer.formats.prototxt import read_net
from fer.nets.lint import lint_net
from fer.nets.states import State, filter_net
from fer.nets.zoo import NETS

ROOT = Path(__file__).resolve().parent.parent


def make_nets(*arguments: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, ROOT / "scripts" / "make_nets.py", *arguments]
    return subprocess.run(list(map(str, argv)), capture_output=True, text=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nets")
    done = make_nets("--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_committed_nets_are_what_the_script_writes(written: Path) -> None:
    made = sorted(path.relative_to(written) for path in written.glob("*/*"))
    assert made
    for path in made:
        assert (written / path).read_bytes() == (NETS / path).read_bytes(), path
    # A file that says it is written is.
    said = {path for path in NETS.glob("*/*.prototxt") if "scripts/make_nets.py" in path.read_text(encoding="utf-8")}
    assert said == {NETS / path for path in made}


def test_augment_stands_behind_the_training_data_alone(tmp_path: Path) -> None:
    settings = "rotate: 15, shift: 0.1"
    done = make_nets("vgg8", "--out", tmp_path, "--augment", settings)
    assert done.returncode == 0, done.stderr
    path, committed = tmp_path / "vgg8" / "train_val.prototxt", read_net(NETS / "vgg8" / "train_val.prototxt")
    net = read_net(path)
    assert lint_net(net, path) == []
    (layer,) = [layer for layer in net.layer if layer.type == "Python"]
    assert (list(layer.bottom), list(layer.top), layer.python_param.param_str) == (["data"], ["data"], settings)
    trained = [layer.type for layer in filter_net(net, State("TRAIN")).layer]
    assert trained[:3] == ["Data", "Python", "Convolution"]
    assert filter_net(net, State("TEST")) == filter_net(committed, State("TEST"))
    assert (tmp_path / "vgg8" / "deploy.prototxt").read_bytes() == (NETS / "vgg8" / "deploy.prototxt").read_bytes()


def test_a_net_nobody_describes_is_refused(tmp_path: Path) -> None:
    done = make_nets("vgg9", "--out", tmp_path)
    assert done.returncode == 2 and "no net 'vgg9'; there are vgg8" in done.stderr
    assert not list(tmp_path.iterdir())

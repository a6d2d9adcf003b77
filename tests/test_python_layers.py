"""A net's own Python layers: imported by real Caffe, once the user has said so."""

import os
from pathlib import Path

import pytest
import training
from training import resume, train

from fer.engines.interpreter import find_caffe, python_path
from fer.engines.process import last_words
from fer.engines.registry import find_engine
from fer.errors import FerError
from fer.evaluation.score import score_run
from fer.nets.states import State
from fer.runs.run import Run
from fer.schema.caffe_pb2 import TransformationParameter

OWN = """
import caffe
class Own(caffe.Layer):
    def setup(self, bottom, top):
        open("%s", "a").write("x")
        if len(bottom) > 1:
            raise ValueError("one bottom is enough")
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)
    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data
    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff
"""
LAYER = """layer { name: "own" type: "Python" bottom: "ip" top: "own"
  python_param { module: "own_layer" layer: "Own" } }
"""
NET = training.NET.replace('layer { name: "accuracy"', LAYER + 'layer { name: "accuracy"').replace(
    'bottom: "ip" bottom: "label"', 'bottom: "own" bottom: "label"'
)
LINE = NET[: NET.index(LAYER)].count("\n") + 1
TWO_INPUTS = "".join(
    f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ dim: 2 }} }} }}\n'
    for name in ("ip", "label")
)
ASKED = r"layer 'own' makes Caffe import, and so run, the Python module 'own_layer'(?s:.*)--allow-python-layers"


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the layer's code leaves when it is run; it lies in a folder of PYTHONPATH, seen from the current
    one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / "own_layer.py").write_text(OWN % (tmp_path / "ran"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "layers"]))
    return tmp_path / "ran"


@pytest.mark.usefixtures("fake")
def test_it_is_asked_for_before_anything_runs(tmp_path: Path, data: Path) -> None:
    net, solver = training.write_net(tmp_path, net=NET)
    with pytest.raises(FerError, match=rf"^{net}:{LINE}: {ASKED}"):
        train(net, solver, data, engine="fake", runs_dir=tmp_path / "runs")
    training.assert_nothing_left(tmp_path)
    run = train(net, solver, data, engine="fake", runs_dir=tmp_path / "runs", python_layers=True, max_iter=5)
    assert run.record.state == "finished"


WRITING = """layer { name: "out" type: "HDF5Output" bottom: "ip" bottom: "label"
  hdf5_output_param { file_name: "%s" } }
"""


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("name", ["/home/me/.profile", "../x.h5", "a/b.h5", "run.json", "..", ""])
def test_a_net_overwrites_nothing_elsewhere(tmp_path: Path, data: Path, name: str) -> None:
    """HDF5Output empties the file that it is told to write, as soon as the net is built."""
    net, solver = training.write_net(tmp_path, net=training.NET + WRITING % name)
    with pytest.raises(FerError, match=rf"net\.prototxt:\d+: layer 'out' would have Caffe overwrite '{name}'"):
        train(net, solver, data, engine="fake", runs_dir=tmp_path / "runs", python_layers=True)


@pytest.mark.full
def test_a_net_in_a_run_overwrites_nothing_elsewhere(tmp_path: Path) -> None:
    """Nor through a link that came with it; beside the net it writes what it is there for."""
    engine, net, kept = find_engine("caffe"), tmp_path / "net.prototxt", tmp_path / "kept"
    kept.write_text("kept")
    (tmp_path / "link.h5").symlink_to(kept)
    net.write_text(TWO_INPUTS + WRITING % "out.h5")
    engine.describe(Path(net.name), State("TRAIN"), folder=tmp_path)
    assert (tmp_path / "out.h5").is_file()
    for name in (kept, "link.h5"):
        net.write_text(TWO_INPUTS + WRITING % name)
        for ask in (
            lambda: engine.describe(Path(net.name), State("TRAIN"), folder=tmp_path),
            lambda: engine.predict(Path(net.name), [net], net, TransformationParameter(), [net], folder=tmp_path),
        ):
            with pytest.raises(FerError, match=r"net\.prototxt:\d+: layer 'out' would have Caffe overwrite"):
                ask()
        assert kept.read_text() == "kept"


@pytest.mark.full
def test_it_trains_is_scored_and_goes_on_where_it_is_allowed(tmp_path: Path, data: Path, ran: Path) -> None:
    net, solver = training.write_net(tmp_path, net=NET, max_iter=2, test_interval=2)
    options = {"engine": "caffe", "seed": 1, "runs_dir": tmp_path / "runs"}
    with pytest.raises(FerError, match=ASKED):
        train(net, solver, data, **options)
    assert not ran.exists()
    run = train(net, solver, data, **options, python_layers=True)
    assert ran.exists()
    ran.unlink()
    with pytest.raises(FerError, match=ASKED):
        resume(run.dir, max_iter=4)
    with pytest.raises(FerError, match=rf"deploy\.prototxt:\d+: {ASKED}"):
        score_run(run)
    assert not ran.exists()
    score_run(run, python_layers=True)
    assert resume(run.dir, max_iter=4, python_layers=True).record.iteration == 4


@pytest.mark.full
@pytest.mark.parametrize(
    ("net", "path", "message"),
    [
        (NET, "", r"ModuleNotFoundError: No module named 'own_layer'\nput the folder .* PYTHONPATH"),
        (NET.replace('bottom: "ip" top: "own"', 'bottom: "ip" bottom: "data" top: "own"'), "layers", "one bottom is"),
    ],
    ids=["not found", "raises"],
)
def test_what_python_says_is_shown(
    tmp_path: Path, data: Path, ran: Path, monkeypatch: pytest.MonkeyPatch, net: str, path: str, message: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", path)
    written, solver = training.write_net(tmp_path, net=net)
    with pytest.raises(FerError, match=rf"net\.prototxt:{LINE}: layer 'own': (ValueError: )?{message}"):
        train(written, solver, data, engine="caffe", runs_dir=tmp_path / "runs", python_layers=True)
    training.assert_nothing_left(tmp_path)


@pytest.mark.full
def test_a_run_s_own_folder_is_not_looked_in(tmp_path: Path, data: Path, ran: Path) -> None:
    """A run directory is data that people send each other."""
    net, solver = training.write_net(tmp_path, net=NET, max_iter=2, test_interval=2)
    run = train(net, solver, data, engine="caffe", seed=1, runs_dir=tmp_path / "runs", python_layers=True)
    (run.dir / "own_layer.py").write_text((tmp_path / "layers" / "own_layer.py").read_text())
    (tmp_path / "layers" / "own_layer.py").unlink()
    ran.unlink()
    with pytest.raises(FerError, match="ModuleNotFoundError"):
        training.real_caffe().allowing(True).describe(run.net.relative_to(run.dir), State("TRAIN"), folder=run.dir)
    assert not ran.exists()


def test_a_solver_that_names_another_net_changes_nothing(tmp_path: Path, data: Path, fake: None) -> None:
    """What is looked through for Python layers is what the engine is given."""
    net, solver = training.write_net(tmp_path)
    run: Run = train(net, solver, data, engine="fake", seed=1, runs_dir=tmp_path / "runs", max_iter=5)
    solver_text = (
        run.solver.read_text().replace("train_val.prototxt", "other.prototxt") + "test_net: 'third.prototxt'\n"
    )
    run.solver.write_text(solver_text)
    run.update(prototxt_sha256={})
    resume(run.dir, max_iter=10)
    assert 'net: "train_val.prototxt"' in run.engine_solver.read_text()
    assert "third" not in run.engine_solver.read_text()


def test_relative_folders_of_pythonpath_are_those_of_where_fer_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert python_path("X") == {}
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", "/b", "c/../d"]))
    assert python_path("X") == {"X": os.pathsep.join([str(tmp_path), "/b", str(tmp_path / "d")])}
    assert "PYTHONPATH" not in find_caffe().environment


def test_the_error_of_a_python_layer_is_not_boost_s() -> None:
    lines = [
        "Traceback (most recent call last):",
        '  File "own.py", line 3, in setup',
        "ValueError: one bottom",
        "Traceback (most recent call last):",
        '  File "worker.py", line 3, in describe',
        "SystemError: <Boost.Python.function object at 0x5> returned NULL without setting an error",
    ]
    assert last_words(lines) == "its last line: ValueError: one bottom"
    assert last_words([*lines[:3], "terminate called after throwing an instance of 'x'"]).endswith("one bottom")
    assert last_words(lines[-1:]).endswith("without setting an error")

"""Our engines' solvers against real Caffe's, against each other's, and against themselves after a resume."""

import io
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from solver_cases import ENGINES, backend, quiet_solver, write_solver

from fer.engines.core.log import Log
from fer.engines.core.rates import step_at
from fer.engines.core.solver import Solver, Stop
from fer.engines.core.weights import SolverState, Weights, read_model, read_state, write_model
from fer.engines.interpreter import CaffePython
from fer.errors import FerError
from fer.formats.log import parse_log
from fer.formats.prototxt import read_solver
from fer.schema import caffe_pb2

ORACLE = Path(__file__).parent / "caffe_solver_oracle.py"
ITERATIONS = 20

RULES: dict[str, dict[str, Any]] = {
    "SGD": {},
    "Nesterov": {},
    "AdaGrad": {"momentum": None, "delta": 1e-6},
    "RMSProp": {"momentum": None, "rms_decay": 0.95, "base_lr": 0.005, "delta": 1e-4},
    "AdaDelta": {"momentum": 0.95, "base_lr": 1.0, "delta": 1e-5},
    "Adam": {"momentum": 0.9, "momentum2": 0.98, "base_lr": 0.005, "delta": 1e-4},
}
POLICIES: dict[str, dict[str, Any]] = {
    "fixed": {},
    "step": {"gamma": 0.5, "stepsize": 6},
    "exp": {"gamma": 0.95},
    "inv": {"gamma": 0.1, "power": 0.75},
    "multistep": {"gamma": 0.3, "stepvalue": [4, 5, 13]},
    "poly": {"power": 1.5},
    "sigmoid": {"gamma": 0.4, "stepsize": 9},
}
TABLE = {f"{rule}_{policy}": {"type": rule, "lr_policy": policy, **RULES[rule], **POLICIES[policy]}
         for rule in RULES for policy in POLICIES}  # fmt: skip
TABLE |= {
    "no_momentum": {"momentum": 0.0},
    "l1": {"regularization_type": "L1"},
    "l1_adam": {"type": "Adam", **RULES["Adam"], "regularization_type": "L1"},
    "clipped": {"clip_gradients": 0.1},
    "clipped_never": {"clip_gradients": 1e6},
    "iter_size": {"iter_size": 3},
    "iter_size_clipped_nesterov": {"type": "Nesterov", "iter_size": 2, "clip_gradients": 0.2},
    "iter_size_adam": {"type": "Adam", **RULES["Adam"], "iter_size": 2},
    "hdf5": {"snapshot_format": "HDF5"},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def first_weights(folder: Path) -> Path:
    """The weights that every case starts from."""
    path = folder / "first.caffemodel"
    write_model(path, quiet_solver(write_solver(folder, "first")).net)
    return path


@pytest.fixture(scope="module")
def caffe_runs(tmp_path_factory: pytest.TempPathFactory, caffe: CaffePython) -> Path:
    """A folder where real Caffe has run every case, and has gone on from our snapshot of iteration 10 for each rule."""
    folder = tmp_path_factory.mktemp("solvers")
    weights = first_weights(folder)
    cases: list[dict[str, Any]] = []
    for name, fields in TABLE.items():
        path = write_solver(folder, f"caffe_{name}", **fields)
        cases.append({"solver": str(path), "weights": str(weights), "iterations": ITERATIONS})
    for engine, rule in itertools.product(ENGINES, RULES):
        fields = {"type": rule, **RULES[rule]}
        quiet_solver(write_solver(folder, f"{engine}_{rule}", **fields), engine, weights=[weights]).step(10)
        path = write_solver(folder, f"caffe_after_{engine}_{rule}", **fields)
        state = folder / f"{engine}_{rule}_iter_10.solverstate"
        cases.append({"solver": str(path), "snapshot": str(state), "iterations": 10})
    (folder / "cases.json").write_text(json.dumps(cases))
    subprocess.run([caffe.python, ORACLE, folder], env=dict(caffe.environment), check=True)
    return folder


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference relative to the largest value of the blob."""
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30))


def assert_same_weights(ours: Weights, theirs: Weights, bound: float = 1e-5) -> None:
    assert ours.keys() == theirs.keys()
    for name, blobs in theirs.items():
        for index, blob in blobs.items():
            assert ours[name][index].shape == blob.shape
            assert difference(ours[name][index], blob) <= bound, (name, index)


def assert_same_state(ours: SolverState, theirs: SolverState, bound: float = 1e-4) -> None:
    assert (ours.iteration, ours.current_step) == (theirs.iteration, theirs.current_step)
    assert [h.shape for h in ours.history] == [h.shape for h in theirs.history]
    for number, (mine, caffes) in enumerate(zip(ours.history, theirs.history, strict=True)):
        assert difference(mine, caffes) <= bound, number


@pytest.mark.full
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", TABLE)
def test_twenty_updates_are_caffe_s(caffe_runs: Path, name: str, engine: str) -> None:
    """The same parameters, history and step; and the solver's files have the same names."""
    end = ".h5" if "snapshot_format" in TABLE[name] else ""
    path = write_solver(caffe_runs, f"{engine}_table_{name}", **TABLE[name])
    quiet_solver(path, engine, weights=[caffe_runs / "first.caffemodel"]).step(ITERATIONS)
    ours, theirs = (caffe_runs / f"{who}_{name}_iter_{ITERATIONS}" for who in (f"{engine}_table", "caffe"))
    assert_same_weights(read_model(f"{ours}.caffemodel{end}"), read_model(f"{theirs}.caffemodel{end}"))
    assert_same_state(read_state(f"{ours}.solverstate{end}"), read_state(f"{theirs}.solverstate{end}"))


@pytest.mark.full
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["SGD_fixed", "Nesterov_fixed", "AdaGrad_fixed", "RMSProp_fixed", "AdaDelta_fixed",
                                  "Adam_fixed", "SGD_multistep", "iter_size", "hdf5"])  # fmt: skip
def test_a_snapshot_of_caffe_goes_on_here(caffe_runs: Path, name: str, engine: str) -> None:
    end = ".h5" if "snapshot_format" in TABLE[name] else ""
    path = write_solver(caffe_runs, f"{engine}_resumed_{name}", **TABLE[name])
    solver = quiet_solver(path, engine, snapshot=caffe_runs / f"caffe_{name}_iter_10.solverstate{end}")
    assert solver.iteration == 10
    solver.step(10)
    theirs = read_model(caffe_runs / f"caffe_{name}_iter_20.caffemodel{end}")
    assert_same_weights(read_model(caffe_runs / f"{engine}_resumed_{name}_iter_20.caffemodel{end}"), theirs)


@pytest.mark.full
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rule", RULES)
def test_a_snapshot_of_ours_goes_on_in_caffe(caffe_runs: Path, rule: str, engine: str) -> None:
    theirs = read_model(caffe_runs / f"caffe_after_{engine}_{rule}_iter_20.caffemodel")
    assert_same_weights(theirs, read_model(caffe_runs / f"caffe_{rule}_fixed_iter_20.caffemodel"))


@pytest.mark.full
def test_the_model_file_is_caffe_s_but_for_its_numbers(caffe_runs: Path) -> None:
    models = []
    for who in ("first", "caffe_SGD_fixed_iter_10"):
        model = caffe_pb2.NetParameter()
        model.ParseFromString((caffe_runs / f"{who}.caffemodel").read_bytes())
        for layer in model.layer:
            for blob in layer.blobs:
                blob.ClearField("data")
        models.append(model)
    assert models[0] == models[1]


# ---- resume


TESTED: dict[str, Any] = {"test_iter": [3], "test_interval": 4, "momentum": 0.9, "average_loss": 1, "display": 1}


STOPS = [("pytorch", stop, seed) for stop in (1, 4, 7, 10, 16) for seed in (1, -1)]


@pytest.mark.parametrize(("engine", "stop", "seed"), [*STOPS, ("tensorflow", 7, 1), ("tensorflow", 10, -1)])
def test_resumed_it_is_the_same_training_to_the_last_bit(tmp_path: Path, engine: str, stop: int, seed: int) -> None:
    """With dropout, in mid-epoch, and with a test net whose data is in mid-epoch too."""
    path = write_solver(tmp_path, "run", dropout=True, random_seed=seed, snapshot=stop, **TESTED)
    log = io.StringIO()
    whole = Solver(read_solver(path), path, backend(engine), Log(log))
    whole.solve()
    again_log = io.StringIO()
    state = tmp_path / f"run_iter_{stop}.solverstate"
    again = Solver(read_solver(path), path, backend(engine), Log(again_log), snapshot=state)
    again.solve()
    for learned in whole.net.learnable:
        place = learned.owner, learned.index
        assert np.array_equal(again.net.blob(*place), whole.net.blob(*place))
    for later_history, history in zip(again.training.history(), whole.training.history(), strict=True):
        assert np.array_equal(later_history, history)
    for phase in ("train", "test"):
        rows = [(r.iteration, r.loss, r.outputs) for r in parse_log(log.getvalue().splitlines()).curve(phase)]
        later = [(r.iteration, r.loss, r.outputs) for r in parse_log(again_log.getvalue().splitlines()).curve(phase)]
        assert later and later == rows[-len(later) :]


@pytest.mark.parametrize("engine", ENGINES)
def test_stopped_while_testing_it_resumes_before_the_test(tmp_path: Path, engine: str) -> None:
    path = write_solver(tmp_path, "run", **TESTED)
    whole = quiet_solver(path, engine)
    whole.step(8)
    whole.test_all()
    after = whole.test_nets[0].evaluate()[0]
    stopped = quiet_solver(write_solver(tmp_path, "stopped", **TESTED), engine)
    stopped.step(8)
    stopped.signals.stop = 2
    with pytest.raises(Stop):
        stopped.test_all()
    stopped.snapshot()
    again = quiet_solver(path, engine, snapshot=tmp_path / "stopped_iter_8.solverstate")
    again.test_all()
    assert float(again.test_nets[0].evaluate()[0]) == float(after)


@pytest.mark.parametrize("rule", ["SGD", "Adam"])
@pytest.mark.parametrize(("first", "then"), [ENGINES, ENGINES[::-1]])
def test_a_snapshot_of_one_engine_goes_on_in_the_other(tmp_path: Path, first: str, then: str, rule: str) -> None:
    """In mid-epoch, tests and all; the numbers that dropout draws begin anew, and a warning says so."""
    fields = {**TESTED, "type": rule, **RULES[rule]}
    path = write_solver(tmp_path, "run", **fields)
    whole = quiet_solver(path, first)
    whole.step(20)
    again = quiet_solver(path, then, snapshot=tmp_path / "run_iter_10.solverstate")
    again.step(10)
    for learned in whole.net.learnable:
        place = learned.owner, learned.index
        assert difference(again.net.blob(*place), whole.net.blob(*place)) <= 1e-5
    ours, theirs = (float(solver.test_nets[0].evaluate()[0]) for solver in (again, whole))
    assert ours == pytest.approx(theirs, rel=1e-5)
    if rule == "SGD":
        dropped = write_solver(tmp_path, "dropped", dropout=True, **fields)
        quiet_solver(dropped, first).step(10)
        log = io.StringIO()
        state = tmp_path / "dropped_iter_10.solverstate"
        Solver(read_solver(dropped), dropped, backend(then), Log(log), snapshot=state).step(1)
        assert "drop/dropout" in next(line for line in log.getvalue().splitlines() if "begin anew" in line)


NORM = """
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "conv" batch_norm_param { moving_average_fraction: 0.8 } }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
"""


def test_batch_norm_learns_the_same_in_both_engines(tmp_path: Path) -> None:
    """Parameters and statistics after ten updates; the wheel's Caffe does not train BatchNorm."""
    path = write_solver(tmp_path, "run", snapshot=0)
    net = tmp_path / "run_net.prototxt"
    net.write_text(net.read_text().replace('layer { name: "tanh"', NORM + 'layer { name: "tanh"'))
    write_model(tmp_path / "first.caffemodel", quiet_solver(path).net)
    solvers = [quiet_solver(path, engine, weights=[tmp_path / "first.caffemodel"]) for engine in ENGINES]
    for solver in solvers:
        solver.step(10)
    theirs, ours = (solver.net for solver in solvers)
    for name, shapes in theirs.blob_shapes.items():
        for index in range(len(shapes)):
            assert difference(ours.blob(name, index), theirs.blob(name, index)) <= 1e-5, (name, index)
    assert ours.blob("norm", 2) == pytest.approx(sum(0.8**n for n in range(10)))


def test_a_sidecar_of_another_run_is_left_alone(tmp_path: Path) -> None:
    """As after Caffe wrote its own snapshot over ours: the data goes on by counting."""
    path = write_solver(tmp_path, "run", random_seed=1)
    quiet_solver(path).step(10)
    other = write_solver(tmp_path, "other", random_seed=2)
    quiet_solver(other).step(10)
    (tmp_path / "other_iter_10.fer.npz").rename(tmp_path / "run_iter_10.fer.npz")
    solver = quiet_solver(path, snapshot=tmp_path / "run_iter_10.solverstate")
    assert solver.net.state()["layers"]["data"]["batches"] == 10


def test_a_damaged_sidecar_is_an_error(tmp_path: Path) -> None:
    path = write_solver(tmp_path, "run")
    quiet_solver(path).step(10)
    sidecar = tmp_path / "run_iter_10.fer.npz"
    for spoilt in (b"", b"nonsense", sidecar.read_bytes()[:-40], sidecar.read_bytes()[:100]):
        sidecar.write_bytes(spoilt)
        with pytest.raises(FerError, match=r"fer\.npz is damaged"):
            quiet_solver(path, snapshot=tmp_path / "run_iter_10.solverstate")


# ---- the log


@pytest.mark.parametrize("engine", ENGINES)
def test_the_log_has_caffe_s_lines_in_caffe_s_order(tmp_path: Path, engine: str) -> None:
    path = write_solver(
        tmp_path, "run", lr_policy="multistep", gamma=0.1, stepvalue=[4], max_iter=6, snapshot=3, display=2,
        test_iter=[2], test_interval=3, test_compute_loss=True, average_loss=3,
    )  # fmt: skip
    log = io.StringIO()
    Solver(read_solver(path), path, backend(engine), Log(log)).solve()
    lines = log.getvalue().splitlines()
    start = next(i for i, line in enumerate(lines) if "Solving Small" in line)
    words = [" ".join(line.split("] ", 1)[1].split()[:3]) for line in lines[start:]]
    testing = ["Iteration N, Testing", "Test loss: N", "Test net output", "Test net output"]
    shown = ["Iteration N (N", "Train net output"]
    expected = ["Solving Small", "Learning Rate Policy:", *testing, *shown, "Iteration N, lr", *shown,
                "Iteration N, lr", "Snapshotting to binary", "Snapshotting solver state", *testing, *shown,
                "MultiStep Status: Iteration", "Iteration N, lr", "Snapshotting to binary",
                "Snapshotting solver state", "Iteration N, loss", *testing, "Optimization Done."]  # fmt: skip
    assert [_without_numbers(word) for word in words] == expected


def _without_numbers(words: str) -> str:
    return " ".join(map(_mask, words.split()))


def _mask(word: str) -> str:
    bare = word.strip("(,")
    return word.replace(bare, "N") if bare.replace(".", "").replace("e-", "").isdigit() else word


def test_the_displayed_loss_is_the_mean_of_the_last_ones(tmp_path: Path) -> None:
    def losses(average: int) -> list[float]:
        path = write_solver(tmp_path, f"run{average}", display=1, max_iter=8, average_loss=average)
        log = io.StringIO()
        Solver(read_solver(path), path, backend("pytorch"), Log(log)).solve()
        return [row.loss for row in parse_log(log.getvalue().splitlines()).curve("train") if row.loss is not None]

    each, smooth = losses(1), losses(3)
    expected = [np.mean(each[max(0, i - 2) : i + 1]) for i in range(len(each))]
    assert np.allclose(smooth, expected, rtol=1e-5)


def test_the_step_is_caffe_s() -> None:
    solver = caffe_pb2.SolverParameter(lr_policy="multistep", stepvalue=[2, 2, 9])
    assert [step_at(solver, i) for i in (-1, 0, 1, 2, 3, 8, 9)] == [0, 0, 0, 1, 2, 2, 3]
    solver = caffe_pb2.SolverParameter(lr_policy="step", stepsize=3)
    assert [step_at(solver, i) for i in (-1, 0, 2, 3, 8)] == [0, 0, 0, 1, 2]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "Sgd"}, "Unknown solver type: Sgd"),
        ({"regularization_type": "L3"}, "Unknown regularization type: L3"),
        ({"type": "AdaGrad"}, "Momentum cannot be used with AdaGrad"),
        ({"type": "RMSProp"}, "Momentum cannot be used with RMSProp"),
        ({"average_loss": 0}, "average_loss is 0"),
        ({"iter_size": 0}, "iter_size is 0"),
        ({"lr_policy": "stp"}, "step"),
        ({"test_iter": [1]}, "test_interval must be 1 or more"),
        ({"net": None}, "no train net"),
        ({"net": "nowhere.prototxt"}, "is not there"),
        ({"train_net": "two.prototxt"}, "more than one train net"),
    ],
)
def test_a_bad_solver_is_one_clear_error(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(FerError, match=message):
        quiet_solver(write_solver(tmp_path, "run", **fields))


def test_a_state_of_another_net_or_rule_is_refused(tmp_path: Path) -> None:
    path = write_solver(tmp_path, "run")
    quiet_solver(path).step(10)
    state = tmp_path / "run_iter_10.solverstate"
    with pytest.raises(FerError, match="Incorrect length of history"):
        quiet_solver(write_solver(tmp_path, "adam", type="Adam"), snapshot=state)
    with pytest.raises(FerError, match="Give a snapshot to resume training or weights"):
        quiet_solver(path, snapshot=state, weights=["w"])
    (tmp_path / "run_iter_10.caffemodel").unlink()
    with pytest.raises(FerError, match="which are not there"):
        quiet_solver(path, snapshot=state)


def test_hdf5_snapshots_without_h5py_are_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_solver(tmp_path, "h5", snapshot_format="HDF5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(FerError, match=r"snapshot_format: HDF5 needs h5py: .* install .*h5py"):
        Solver(read_solver(path), path, backend("pytorch"), Log(silent=True))

"""Each layer of either engine against real Caffe, forward and backward, and what it refuses."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from layer_cases import CASES, REFUSED, Case
from layer_trials import TRIALS, TorchTrial, difference, layer_proto

from fer.engines.core.layer import Layer
from fer.engines.interpreter import CaffePython
from fer.engines.pytorch import registry as pytorch
from fer.engines.tensorflow.context import Context
from fer.engines.tensorflow.registry import LAYERS
from fer.errors import FerError
from fer.nets.lint import KNOWN_LAYERS
from fer.schema import caffe_pb2

ORACLE = Path(__file__).with_name("caffe_oracle.py")
WANTED = 1e-4
# fmt: off
ELSEWHERE = frozenset([
    "Data", "ImageData", "Input", "DummyData", "MemoryData", "HDF5Data", "HDF5Output", "WindowData", "RNN", "LSTM",
    "LSTMUnit", "Python",
])
# fmt: on
"""Types that feed data (test_pytorch_data.py), that the engine has not, and Python (below)."""
IDS = [str(case) for case in CASES]
CREATE: dict[str, Callable[[caffe_pb2.LayerParameter], Layer]] = {
    "pytorch": lambda proto: pytorch.create(proto, pytorch.Context()),
    "tensorflow": lambda proto: LAYERS.create(proto, Context()),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def caffe_says(tmp_path_factory: pytest.TempPathFactory, caffe: CaffePython) -> list[dict[str, np.ndarray] | str]:
    """For every case what real Caffe computes, or how it refused: all in one process."""
    folder = tmp_path_factory.mktemp("oracle")
    trials = [TorchTrial(number) for number in range(len(CASES))]
    (folder / "cases.json").write_text(json.dumps([trial.request() for trial in trials]))
    for number, trial in enumerate(trials):
        arrays: dict[str, Any] = {**trial.arrays()}
        np.savez(folder / f"case_{number}.npz", **arrays)
    subprocess.run([caffe.python, ORACLE, folder], check=True, env=caffe.environment)
    answers: list[dict[str, np.ndarray] | str] = []
    for number in range(len(CASES)):
        out = folder / f"out_{number}.npz"
        if out.exists():
            with np.load(out, allow_pickle=False) as arrays:
                answers.append(dict(arrays))
        else:
            answers.append((folder / f"refused_{number}.txt").read_text())
    return answers


def takes_batch_statistics(case: Case) -> bool:
    """BatchNorm in training: the wheel's Caffe has lost that half of the layer, and leaves its buffers unfilled."""
    if case.type != "BatchNorm" or "use_global_stats: true" in case.param:
        return False
    return case.phase == "TRAIN" or "use_global_stats: false" in case.param


@pytest.mark.full
@pytest.mark.parametrize("engine", TRIALS)
@pytest.mark.parametrize("number", range(len(CASES)), ids=IDS)
def test_a_layer_computes_what_caffe_computes(
    number: int, engine: str, caffe: CaffePython, caffe_says: list[dict[str, np.ndarray] | str]
) -> None:
    if caffe.build is None and takes_batch_statistics(CASES[number]):
        pytest.skip("the wheel's BatchNorm does not train")
    if caffe.build is None and CASES[number].type == "Clip":
        pytest.skip("the wheel has no Clip")
    theirs = caffe_says[number]
    assert isinstance(theirs, dict), theirs
    ours = TRIALS[engine](number).run()
    differences = {name: difference(values, theirs[name]) for name, values in ours.items()}
    assert max(differences.values(), default=0) <= WANTED, differences
    assert CASES[number].tops == 0 or "top/y0" in ours
    missing = {name for name in theirs if name.startswith("diff/")} - ours.keys()
    assert not missing, "Caffe passes gradients that ours does not"


@pytest.mark.parametrize("engine", TRIALS)
@pytest.mark.parametrize("number", [i for i, case in enumerate(CASES) if takes_batch_statistics(case)])
def test_batch_norm_in_training_is_caffes_mvn_over_the_batch(number: int, engine: str) -> None:
    """MVN of [1, C, the rest], which the table holds against real Caffe; the sums by BVLC Caffe's formula."""
    trial = TRIALS[engine](number)
    before, fraction = trial.blobs, trial.proto.batch_norm_param.moving_average_fraction
    found = trial.run()
    rows = torch.from_numpy(trial.bottoms[0]).transpose(0, 1).flatten(1)[None].requires_grad_()
    (top,) = _mvn(tuple(rows.shape)).forward(rows)
    top.backward(torch.from_numpy(trial.diffs[0]).transpose(0, 1).flatten(1)[None])
    assert rows.grad is not None
    for name, wanted in (("top/y0", top.detach()), ("diff/x0", rows.grad)):
        ours = torch.from_numpy(found[name]).transpose(0, 1).flatten(1)[None]
        assert difference(ours.numpy(), wanted.numpy()) < WANTED
    values = rows.detach().double().numpy()[0]
    fresh = [values.mean(1), values.var(1, ddof=1), np.ones(1)]
    for i in range(3):
        assert difference(found[f"param/it/{i}"], before[i] * fraction + fresh[i]) < 1e-6


def _mvn(shape: tuple[int, ...]) -> pytorch.Layer:
    layer = pytorch.create(layer_proto(Case("MVN", "", ())), pytorch.Context())
    layer.setup([shape])
    return layer


@pytest.mark.parametrize("known", [pytorch.known_types, LAYERS.known_types], ids=TRIALS)
def test_every_type_is_here_and_in_the_table(known: Callable[[], frozenset[str]]) -> None:
    wanted = KNOWN_LAYERS - ELSEWHERE
    assert wanted <= known() | {"Python"}
    assert {case.type for case in CASES} == wanted
    assert len(IDS) == len(set(IDS)), "a row is there twice"


@pytest.mark.parametrize("engine", TRIALS)
@pytest.mark.parametrize(("type_", "param", "shapes", "says"), REFUSED)
def test_what_does_not_fit_is_said_with_the_layers_name(
    type_: str, param: str, shapes: list[tuple[int, ...]], says: str, engine: str
) -> None:
    with pytest.raises(FerError, match=says) as error:
        CREATE[engine](layer_proto(Case(type_, param, (), tops=2 if type_ == "Slice" else 1))).setup(list(shapes))
    assert str(error.value).startswith(f"layer 'it' ({type_}): ")

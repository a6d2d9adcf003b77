"""A student with two teachers inside: a training step is real Caffe's on both engines of ours, and leaves them alone.

The teachers have BatchNorm, side heads and dropout; the student has no BatchNorm, as the wheel's Caffe does not train
it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import agreement
import numpy as np
import pytest
from agreement import relative
from solver_cases import ENGINES, backend
from test_distill import teacher_of

from fer.engines.core.log import Log
from fer.engines.core.solver import Solver
from fer.engines.interpreter import CaffePython
from fer.formats.prototxt import read_net, read_solver
from fer.nets.distilled import SOFT_LOSS, distilled, teachers_weights
from fer.nets.zoo import find_net

pytestmark = pytest.mark.full

SIDE = 44  # the crop, which these images have already
CLOSE = 1e-5
# Of these float32 keeps fewer digits: parameters are a thousand times larger.
CLOSE_UPDATES = 1e-3
TEMPERATURE, SHARE = 4, 0.9


@pytest.mark.parametrize(
    ("student", "solver", "batch", "taught_by"),
    [("lenet", "s2", 5, ("googlenet", "resnet18h")), ("alexnet", "s1", 2, ("alexnetbn",))],
)
def test_one_training_step_is_caffe_s(
    student: str,
    solver: str,
    batch: int,
    taught_by: Sequence[str],
    random_data: Callable[[int], Path],
    tmp_path: Path,
    seed: int,
    caffe: CaffePython,
) -> None:
    folder = agreement.write_case(tmp_path, student, solver, random_data(SIDE), batch, test_batch=7, seed=seed)
    teachers = [teacher_of(read_net(find_net(name)), name=name) for name in taught_by]
    net = folder / "net.prototxt"
    net.write_text(distilled(read_net(net), teachers, temperature=TEMPERATURE, share=SHARE))
    weights = folder / "teachers.caffemodel"
    weights.write_bytes(teachers_weights(teachers).SerializeToString())
    begun = solver_of(folder, "pytorch", weights=[weights])
    begun.snapshot()
    before = agreement.parameters(begun)
    start = folder / "pytorch_iter_0.solverstate"
    (theirs,) = agreement.caffe_runs(folder, caffe, [{"snapshot": start, "iterations": 1, "watch": 0, "test": True}])
    soft, hard = theirs[f"blob/0/{SOFT_LOSS}"].item(), theirs["loss"].item()
    answers = theirs["blob/0/distill/teachers" if len(taught_by) > 1 else "blob/0/distill/teacher1"]
    assert np.ptp(answers, 1).max() > 0.01 and soft > 1  # they say something
    for engine in ENGINES:
        ours = solver_of(folder, engine, snapshot=start)
        tested = ours.test_nets[0]
        for (name, _), value in zip(tested.outputs, tested.evaluate()[1], strict=True):
            assert float(tested.host(value)) == pytest.approx(theirs[f"test/{name}"].item(), rel=CLOSE)
        ours.step(1)
        loss = SHARE * TEMPERATURE**2 * soft + (1 - SHARE) * hard
        assert float(ours.net.host(ours._losses[-1])) == pytest.approx(loss, rel=CLOSE)
        for key, blob in before.items():
            layer, index = key.removeprefix("after/").rsplit("/", 1)
            now = ours.net.blob(layer, int(index))
            if layer.startswith("teacher"):
                assert (now == blob).all() and (theirs[key] == blob).all(), key
            else:
                assert relative(now - blob, theirs[key] - blob) <= CLOSE_UPDATES, key


def solver_of(folder: Path, engine: str, **options: object) -> Solver:
    path = folder / f"{engine}.prototxt"
    return Solver(read_solver(path), path, backend(engine), Log(silent=True), **options)  # type: ignore[arg-type]

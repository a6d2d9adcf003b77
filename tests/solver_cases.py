"""A small deterministic training for the tests of our engines: an LMDB of drawn noise, a net, a solver."""

from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from google.protobuf import text_format

from fer.engines.core import framework
from fer.engines.core.log import Log
from fer.engines.core.solver import Solver
from fer.engines.pytorch.backend import Backend
from fer.engines.pytorch.net import Net
from fer.engines.pytorch.training import Training
from fer.formats.database import encode_datum
from fer.formats.prototxt import read_solver
from fer.schema import caffe_pb2

# Smooth everywhere: where a kink or a tie decides, rounding may turn one engine's way from the other's.
NET = """
name: "Small"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.0078125 mean_value: 128 } data_param { source: "SOURCE" backend: LMDB batch_size: 10 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.0078125 mean_value: 128 } data_param { source: "SOURCE" backend: LMDB batch_size: 7 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 6 kernel_size: 3 weight_filler { type: "xavier" }
    bias_filler { type: "gaussian" std: 0.1 } } }
layer { name: "tanh" type: "TanH" bottom: "conv" top: "conv" }
layer { name: "one" type: "InnerProduct" bottom: "conv" top: "one" param { lr_mult: 0.5 decay_mult: 3 }
  inner_product_param { num_output: 9 weight_filler { type: "xavier" } } }
layer { name: "sigmoid" type: "Sigmoid" bottom: "one" top: "one" }
layer { name: "two" type: "InnerProduct" bottom: "one" top: "two" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 9 weight_filler { type: "xavier" } } }
layer { name: "three" type: "InnerProduct" bottom: "two" top: "three" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 9 weight_filler { type: "xavier" } } }
DROPOUT
layer { name: "frozen" type: "InnerProduct" bottom: "three" top: "four" param { lr_mult: 0 } param { lr_mult: 0 }
  inner_product_param { num_output: 7 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "four" bottom: "label" top: "accuracy" include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "four" bottom: "label" top: "loss" }
"""
DROPOUT = 'layer { name: "drop" type: "Dropout" bottom: "three" top: "three" dropout_param { dropout_ratio: 0.3 } }'

SOLVER: dict[str, Any] = {
    "type": "SGD",
    "base_lr": 0.05,
    "lr_policy": "fixed",
    "momentum": 0.9,
    "weight_decay": 0.004,
    "max_iter": 20,
    "snapshot": 10,
    "display": 0,
    "random_seed": 1,
    "solver_mode": "CPU",
}


def write_database(folder: Path, count: int = 33, seed: int = 7) -> None:
    """`count` images of noise, 1 x 8 x 8, with labels 0..6."""
    rng = np.random.default_rng(seed)
    with lmdb.open(str(folder), map_size=2**24) as env, env.begin(write=True) as transaction:
        for number in range(count):
            image = rng.integers(0, 256, (1, 8, 8), dtype=np.uint8)
            datum = encode_datum(image, int(rng.integers(7)))
            transaction.put(f"{number:08d}_{number}.jpg".encode(), datum)


def write_solver(folder: Path, name: str, *, dropout: bool = False, **fields: Any) -> Path:
    """Write FOLDER/NAME.prototxt (and FOLDER/NAME_net.prototxt) with `fields` over SOLVER's; gives the solver's path.

    The net reads FOLDER/lmdb, which is made if need be; snapshots go to FOLDER/NAME_iter_N.
    """
    if not (folder / "lmdb").exists():
        write_database(folder / "lmdb")
    net = folder / f"{name}_net.prototxt"
    net.write_text(NET.replace("SOURCE", str(folder / "lmdb")).replace("DROPOUT", DROPOUT * dropout))
    solver = caffe_pb2.SolverParameter()
    merged = {"net": str(net), "snapshot_prefix": str(folder / name), **SOLVER, **fields}
    for field, value in merged.items():
        if value is None:
            continue
        if isinstance(value, list):
            getattr(solver, field).extend(value)
        elif field in ("solver_mode", "snapshot_format"):
            setattr(solver, field, getattr(caffe_pb2.SolverParameter, value))
        else:
            setattr(solver, field, value)
    path = folder / f"{name}.prototxt"
    path.write_text(text_format.MessageToString(solver))
    return path


def torch_net(net: framework.Net) -> Net:
    assert isinstance(net, Net)
    return net


def torch_training(solver: Solver) -> Training:
    assert isinstance(solver.training, Training)
    return solver.training


ENGINES = ("pytorch", "tensorflow")


def backend(engine: str) -> framework.Backend:
    """An engine of ours on the CPU of this process."""
    if engine == "pytorch":
        return Backend()
    from fer.engines.tensorflow.backend import Backend as TensorFlow  # here, as its import takes seconds

    return TensorFlow()


def quiet_solver(path: Path, engine: str = "pytorch", **options: Any) -> Solver:
    """A Solver of this process that logs nothing."""
    return Solver(read_solver(path), path, backend(engine), Log(silent=True), **options)

"""A scored run with drawn weights, made in a second: what the tests of export and predict start from.

Its engine is the PyTorch one, called in this process.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import training
from made_run import make_record

from fer.engines.core.verbs.predict import predict
from fer.engines.core.weights import write_model
from fer.engines.engine import Engine
from fer.engines.pytorch.backend import Backend
from fer.engines.pytorch.net import Net
from fer.engines.pytorch.registry import Context, Seeds
from fer.engines.pytorch_engine import PyTorch
from fer.evaluation.score import score_run
from fer.formats.prototxt import read_net, read_weights, write_text
from fer.nets.deploy import derive_deploy
from fer.nets.shapes import infer_shapes
from fer.runs.create import create_run
from fer.runs.record import SnapshotFiles, TrainedOn
from fer.runs.run import Run
from fer.system.hashes import file_hash


@dataclasses.dataclass(frozen=True)
class Here(PyTorch):
    """An engine without a process; `off` is added to every answer."""

    off: float = 0.0

    def describe(self, model: Path, *_: Any, **__: Any) -> dict[str, Any]:
        return {"params": infer_shapes(read_net(model)).params}

    def predict(self, deploy: Path, weights: Any, images: Path, transform: Any, outs: Any, **options: Any) -> None:
        predict(Backend(), deploy, weights, images, transform, outs, ten_crop=options.get("ten_crop", False))
        for out in outs if self.off else ():
            with np.load(out) as answer:
                probs = answer["probs"] + np.float32(self.off)
            np.savez(out, probs=probs)


def here(off: float = 0.0) -> Engine:
    return Here(command=("none",), off=off)


def make_run(folder: Path) -> Run:
    """A run of training.NET with snapshots 1 and 2, scored; `ENGINES["pytorch"]` must be `here`."""
    data = training.make_data(folder)
    net = read_net_of(folder, data)
    record = make_record(
        command=("fer", "train", "--net", str(folder / "train_val.prototxt")),
        engine="pytorch",
        net="small",
        solver="s1",
        data=TrainedOn(
            str(data),
            {str(data / name): file_hash(data / name) for name in ("mean.binaryproto", "val_lmdb/data.mdb")},
            "drawn sample",
        ),
    )
    run = create_run(folder / "runs", "small-s1", record)
    run.solver.write_text(training.SOLVER)
    write_text(run.net, net)
    write_text(run.deploy, derive_deploy(net, (1, 48, 48)))
    snapshots = {}
    for seed in (1, 2):
        path = run.weights_file(seed)
        write_model(path, Net(net, Context("TRAIN", seeds=Seeds(seed))))
        snapshots[seed] = SnapshotFiles(run.hashed(path))
    run.update(snapshots=snapshots)
    score_run(run)
    return run


def mean_of_two(run: Run, file: str) -> None:
    """Write the mean of the run's two snapshots."""
    first, second = (read_weights(snapshot.weights) for snapshot in run.snapshots())
    for layer, other in zip(first.layer, second.layer, strict=True):
        for blob, more in zip(layer.blobs, other.blobs, strict=True):
            mean = (np.array(blob.data) + np.array(more.data)) / 2
            del blob.data[:]
            blob.data.extend(mean.tolist())
    (run.dir / file).write_bytes(first.SerializeToString())


def read_net_of(folder: Path, data: Path) -> Any:
    """training.NET with its files in the data directory."""
    text = training.NET
    for name in ("mean.binaryproto", "train_lmdb", "val_lmdb"):
        text = text.replace(f'"{name}"', json.dumps(str(data / name)))
    (folder / "train_val.prototxt").write_text(text)
    return read_net(folder / "train_val.prototxt")

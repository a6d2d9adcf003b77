"""Real Caffe as an oracle for trainings: `python caffe_training_oracle.py CASES.json`, by a Python that has Caffe.

CASES.json lists {"solver": a solver's prototxt, "snapshot": a .solverstate to go on from, "iterations": how many,
"out": an .npz to write}, and where wanted "test": true, "nudge": 1 or -1 to move each parameter one rounding up or
down first, and "watch": after how many iterations to take a snapshot and to look closer. `out` gets

    loss [iterations]
    test/<blob>         before the first iteration: the mean over test_iter batches
    after/<layer>/<k>   the parameters after the first iteration watched
    blob/<i>/<name>     the net's blobs after the pass of the i-th iteration watched, of the first three

Cases run one after the other, with as many BLAS threads as the environment says. Imports caffe and numpy only.
"""

import json
import sys
from pathlib import Path

import caffe
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format


def run(case):
    solver = caffe.get_solver(case["solver"])
    solver.restore(case["snapshot"])
    for _ in range(solver.iter):  # the data goes on where it was
        solver.net._forward(0, 0)
    for blobs in solver.net.params.values() if "nudge" in case else ():
        for blob in blobs:
            blob.data[...] = np.nextafter(blob.data, np.float32(case["nudge"] * np.inf))
    out = test(solver, case["solver"]) if case.get("test") else {}
    losses = []
    for number in range(case["iterations"]):
        watched = number - case.get("watch", case["iterations"])
        if watched == 0 and number > 0:
            solver.snapshot()
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
        if watched == 0:
            for layer, blobs in solver.net.params.items():
                out.update({f"after/{layer}/{k}": blob.data.copy() for k, blob in enumerate(blobs)})
        if 0 <= watched < 3:
            out.update({f"blob/{watched}/{name}": blob.data.copy() for name, blob in solver.net.blobs.items()})
    np.savez(case["out"], loss=np.array(losses), **out)


def test(solver, path):
    param = text_format.Merge(Path(path).read_text(), caffe_pb2.SolverParameter())
    net = solver.test_nets[0]
    net.share_with(solver.net)
    rows = []
    for _ in range(param.test_iter[0]):
        rows.append({name: float(value) for name, value in net.forward().items()})
    return {"test/" + name: np.mean([row[name] for row in rows]) for name in rows[0]}


if __name__ == "__main__":
    caffe.set_mode_cpu()
    for case in json.loads(Path(sys.argv[1]).read_text()):
        run(case)

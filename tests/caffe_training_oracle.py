"""Real Caffe as an oracle for trainings: `python caffe_training_oracle.py CASES.json`, by a Python that has Caffe.

CASES.json lists {"solver": a solver's prototxt, "snapshot": a .solverstate to go on from or null, "iterations": how
many, "threads": what BLAS is given (1), "out": an .npz to write}. Each case runs in a process of its own. `out` gets
loss [iterations], test/<blob> (the mean over test_iter batches, before the first iteration, where the solver has a
test net) and after/<layer>/<k>, the parameters after the first iteration; and the solver takes its snapshot at the end.

Imports caffe and numpy only.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

CASES = json.loads(Path(sys.argv[1]).read_text())
CASE = CASES[int(sys.argv[2])] if len(sys.argv) == 3 else None

if CASE:
    threads = str(CASE.get("threads", 1))
    os.environ.update(GLOG_minloglevel="2", OPENBLAS_NUM_THREADS=threads, OMP_NUM_THREADS=threads)
    # Both read their settings when they are loaded.
    import caffe
    import numpy as np
    from caffe.proto import caffe_pb2
    from google.protobuf import text_format


def run(case):
    caffe.set_mode_cpu()
    solver = caffe.get_solver(case["solver"])
    if case["snapshot"]:
        solver.restore(case["snapshot"])
        for _ in range(solver.iter):  # the data goes on where it was
            solver.net._forward(0, 0)
    out = {}
    if solver.test_nets:
        param = text_format.Merge(Path(case["solver"]).read_text(), caffe_pb2.SolverParameter())
        net, rows = solver.test_nets[0], []
        net.share_with(solver.net)
        for _ in range(param.test_iter[0]):
            rows.append({name: float(value) for name, value in net.forward().items()})
        out.update({"test/" + name: np.mean([row[name] for row in rows]) for name in rows[0]})
    losses = []
    for number in range(case["iterations"]):
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
        if number == 0:
            for layer, blobs in solver.net.params.items():
                out.update({f"after/{layer}/{i}": blob.data.copy() for i, blob in enumerate(blobs)})
    solver.snapshot()
    np.savez(case["out"], loss=np.array(losses), **out)


def main():
    if CASE:
        run(CASE)
        return 0
    codes = [subprocess.call([sys.executable, __file__, sys.argv[1], str(i)]) for i in range(len(CASES))]
    return max(abs(code) for code in codes)


if __name__ == "__main__":
    sys.exit(main())

"""Real Caffe as an oracle for solvers: `python caffe_solver_oracle.py FOLDER`, by a Python that has Caffe.

FOLDER/cases.json lists {"solver": a solver's prototxt, "weights": a .caffemodel to start from or "snapshot": a
.solverstate to go on from, "iterations": how many to step}. Every case runs in a child of its own; the solver's
snapshots are what it leaves.

Imports caffe only.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("GLOG_minloglevel", "2")

# glog reads its level when Caffe is loaded.
import caffe


def run_case(case):
    caffe.set_mode_cpu()
    solver = caffe.get_solver(case["solver"])
    if "weights" in case:
        solver.net.copy_from(case["weights"])
    if "snapshot" in case:
        solver.restore(case["snapshot"])
        for _ in range(solver.iter):  # the data goes on where it was
            solver.net._forward(0, 0)
    solver.step(case["iterations"])


def main(folder):
    cases = json.loads((folder / "cases.json").read_text())
    failed = 0
    for case in cases:
        pid = os.fork()
        if not pid:
            status = 1
            try:
                run_case(case)
                status = 0
            finally:
                os._exit(status)
        failed |= os.waitpid(pid, 0)[1]
    sys.exit(bool(failed))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Real Caffe as an oracle for single layers: `python caffe_oracle.py FOLDER`, by a Python that has Caffe.

FOLDER/cases.json lists cases: {"model": a net's prototxt as text, "backward": whether to go back, "needs_gradient":
names of blobs whose diffs are wanted, "tops": names of blobs wanted,
and maybe "weights": a .caffemodel}. Beside it lies case_<i>.npz with arrays
`bottom/<blob>`, `blob/<layer>/<k>` (parameters) and `diff/<blob>` (gradients of tops). For every case this writes
out_<i>.npz with `top/<blob>`, `diff/<blob>`, `param_diff/<layer>/<k>` and `param/<layer>/<k>`, the parameters as the
forward pass leaves them. Caffe ends the process it dislikes a net in, so every case runs in a child of its own; a
case without an out file was refused, and refused_<i>.txt says how.

Imports caffe and numpy only.
"""

import json
import os
import sys
import traceback
from pathlib import Path

os.environ.setdefault("GLOG_minloglevel", "2")

# glog reads its level when Caffe is loaded.
import caffe
import numpy as np


def run_case(folder, number, case):
    model = folder / f"model_{number}.prototxt"
    model.write_text(case["model"])
    net = caffe.Net(str(model), caffe.TRAIN if case["phase"] == "TRAIN" else caffe.TEST)
    if "weights" in case:
        net.copy_from(str(folder / case["weights"]))
    given = np.load(str(folder / f"case_{number}.npz"), allow_pickle=False)
    for key in given.files:
        kind, name = key.split("/", 1)
        if kind == "bottom":
            net.blobs[name].data[...] = given[key]
        elif kind == "blob":
            layer, index = name.rsplit("/", 1)
            net.params[layer][int(index)].data[...] = given[key]
    net.forward()
    out = {"top/" + name: net.blobs[name].data.copy() for name in case["tops"]}
    out.update(parameters(net, "param", "data"))
    if case["backward"]:
        for key in given.files:
            if key.startswith("diff/"):
                net.blobs[key[len("diff/") :]].diff[...] = given[key]
        net.backward()
        out.update({"diff/" + name: net.blobs[name].diff.copy() for name in case["needs_gradient"]})
        out.update(parameters(net, "param_diff", "diff"))
    np.savez(str(folder / f"out_{number}.npz"), **out)


def parameters(net, kind, side):
    return {
        f"{kind}/{layer}/{i}": getattr(blob, side).copy()
        for layer, blobs in net.params.items()
        for i, blob in enumerate(blobs)
    }


def child(folder, number, case):
    """Runs the case and ends this process, with 0 if all went well."""
    said = os.open(str(folder / f"refused_{number}.txt"), os.O_WRONLY | os.O_CREAT, 0o644)
    os.dup2(said, 2)
    status = 1
    try:
        run_case(folder, number, case)
        status = 0
    except (ValueError, KeyError, IndexError, RuntimeError):
        traceback.print_exc()
    finally:
        os._exit(status)


def main(folder):
    for number, case in enumerate(json.loads((folder / "cases.json").read_text())):
        pid = os.fork()
        if not pid:
            child(folder, number, case)
        _, status = os.waitpid(pid, 0)
        if status == 0:
            (folder / f"refused_{number}.txt").unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

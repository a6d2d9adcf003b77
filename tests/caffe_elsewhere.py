"""Trainings made elsewhere, by pycaffe alone: `python caffe_elsewhere.py FOLDER`, by a Python that has Caffe.

FOLDER/cases.json lists {"folder": of a training, with its solver.prototxt; "log": the file that Caffe's log goes to;
"mean": [a database, its count of images, the binaryproto to write]; "old": whether its snapshots are to be
written in Caffe's formats of 2013 and 2014 too, as v0/ and v1/}. Each is trained to its end in its own folder. Its
answers.npz then has what Caffe says of each snapshot on the solver's first test net: by iteration "accuracy/N" and
"prob/N" [images, classes], in the order of the test.

Imports caffe and numpy only.
"""

import json
import os
import sys
from pathlib import Path

os.environ["GLOG_LOGTOSTDERR"] = "1"

import caffe
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format

V0 = {"Convolution": "conv", "InnerProduct": "innerproduct"}
V1 = {"Convolution": "CONVOLUTION", "InnerProduct": "INNER_PRODUCT"}


READER = """layer { name: "data" type: "Data" top: "data" data_param { source: "%s" backend: LMDB batch_size: %d } }"""


def write_mean(database, count, path):
    """The mean of the images in a database, as compute_image_mean writes it."""
    Path("reader.prototxt").write_text(READER % (database, count))
    reader = caffe.Net("reader.prototxt", caffe.TEST)
    reader.forward()
    blob = caffe.io.array_to_blobproto(reader.blobs["data"].data.mean(axis=0, keepdims=True))
    Path(path).write_bytes(blob.SerializeToString())
    Path("reader.prototxt").unlink()


def train(case):
    folder = Path(case["folder"])
    os.chdir(folder)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    if "mean" in case:
        write_mean(*case["mean"])
    os.dup2(os.open(case["log"], os.O_WRONLY | os.O_CREAT, 0o644), 2)
    caffe.set_mode_cpu()
    solver = caffe.get_solver("solver.prototxt")
    solver.solve()
    os.dup2(quiet, 2)
    answers(folder, solver)
    if case.get("old"):
        for state in sorted(folder.glob("*.solverstate")):
            in_old_formats(folder, state)


def answers(folder, solver):
    param = text_format.Merge((folder / "solver.prototxt").read_text(), caffe_pb2.SolverParameter())
    out = {}
    for path in sorted(folder.glob("*.caffemodel*")):
        number = path.name.split("_iter_")[1].split(".")[0]
        net = caffe.Net(param.net, caffe.TEST)  # begins at the images' start
        net.copy_from(str(path))
        batches = [{name: top.copy() for name, top in net.forward().items()} for _ in range(param.test_iter[0])]
        out["accuracy/" + number] = np.mean([batch["accuracy"] for batch in batches])
        out["prob/" + number] = np.concatenate([batch["prob"] for batch in batches])
    np.savez(str(folder / "answers.npz"), **out)


def in_old_formats(folder, path):
    """A snapshot as Caffe wrote it before `layer` blocks and blobs of any shape."""
    state = caffe_pb2.SolverState.FromString(path.read_bytes())
    model = caffe_pb2.NetParameter.FromString((folder / state.learned_net).read_bytes())
    for blob in state.history:
        as_legacy(blob)
    state.ClearField("current_step")
    first, second = caffe_pb2.NetParameter(name=model.name), caffe_pb2.NetParameter(name=model.name)
    for layer in model.layer:
        for blob in layer.blobs:
            as_legacy(blob)
        if layer.blobs:
            outer = first.layers.add(bottom=layer.bottom, top=layer.top)
            outer.layer.name, outer.layer.type = layer.name, V0[layer.type]
            outer.layer.blobs.extend(layer.blobs)
            newer = second.layers.add(name=layer.name, bottom=layer.bottom, top=layer.top)
            newer.type = caffe_pb2.V1LayerParameter.LayerType.Value(V1[layer.type])
            newer.blobs.extend(layer.blobs)
    for name, net in (("v0", first), ("v1", second)):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / state.learned_net).write_bytes(net.SerializeToString())
        (folder / name / path.name).write_bytes(state.SerializeToString())


def as_legacy(blob):
    dims = [1] * (4 - len(blob.shape.dim)) + list(blob.shape.dim)
    blob.num, blob.channels, blob.height, blob.width = dims
    blob.ClearField("shape")


def main(folder):
    for case in json.loads((folder / "cases.json").read_text()):
        pid = os.fork()
        if not pid:
            status = 1
            try:
                train(case)
                status = 0
            finally:
                os._exit(status)
        if os.waitpid(pid, 0)[1]:
            sys.exit("failed: " + case["folder"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))

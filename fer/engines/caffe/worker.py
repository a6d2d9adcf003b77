# /// script
# requires-python = "==3.9.*"
# dependencies = ["kendryte-caffe==1.0.0.20210829", "numpy==1.26.4", "protobuf==3.20.3"]
# ///
"""Real Caffe behind a few verbs; `fer` runs this file in an interpreter of its own, and so can you:

    uv run --no-project --script worker.py train --solver solver.prototxt [--snapshot S | --weights W] [--gpu N]
    uv run --no-project --script worker.py predict --model deploy.prototxt --source images.npy
           --transform 'crop_size: 42 mean_file: "M"' [--ten-crop] [--gpu N]
           --weights W --out scores.npz [--weights W2 --out scores2.npz ...]
    uv run --no-project --script worker.py describe --model train_val.prototxt --phase TRAIN [--stage S ...] [--level L]
    uv run --no-project --script worker.py batch --model data_part.prototxt --phase TRAIN --out batch.npz [--seed N]
    uv run --no-project --script worker.py doctor | layers | gpu

`train` writes Caffe's own log to stderr. SIGINT and SIGTERM stop it after the running iteration with a snapshot
(exit code 130, 143); SIGHUP takes a snapshot and goes on. `--snapshot` also puts the data cursor and every random
stream back to where they were, so a resumed run gives the numbers of an uninterrupted one.

Imports caffe and numpy only (and files that lie beside it and do so too): any Python whose pycaffe is BVLC Caffe 1.0's
can run it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

# What lies beside this file is found even where PYTHONSAFEPATH is set.
if os.path.dirname(os.path.abspath(__file__)) not in sys.path:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
os.environ.setdefault("GLOG_logtostderr", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import caffe
import google.protobuf
import ipc
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from worker_training import read_text, train, use_device

# A user's own Python layers, behind all that is installed here.
sys.path.extend(filter(None, os.environ.get("FER_PYTHON_LAYERS", "").split(os.pathsep)))

PREDICT_BATCH = 64


# ---- predict


class Transform:
    """Caffe's TEST-phase transform of uint8 images [N,C,H,W]: mean at the crop's offset, then scale."""

    def __init__(self, param):
        self.crop = param.crop_size
        self.scale = np.float32(param.scale)
        self.mean = None
        if param.mean_file:
            blob = caffe_pb2.BlobProto()
            with open(param.mean_file, "rb") as stream:
                blob.ParseFromString(stream.read())
            self.mean = caffe.io.blobproto_to_array(blob).astype(np.float32)
            self.mean = self.mean.reshape(self.mean.shape[-3:])
        elif len(param.mean_value):
            self.mean = np.array(param.mean_value, np.float32).reshape(-1, 1, 1)

    def offsets(self, height, width, ten_crop):
        """(y, x) of each crop: the centre, and with `ten_crop` the four corners too."""
        if not self.crop:
            return [(0, 0)]
        bottom, right = height - self.crop, width - self.crop
        centre = (bottom // 2, right // 2)
        return [centre, (0, 0), (0, right), (bottom, 0), (bottom, right)] if ten_crop else [centre]

    def __call__(self, images, offset):
        """float32 [N,C,h,w] of the crop at `offset`."""
        y, x = offset
        height = self.crop or images.shape[2]
        width = self.crop or images.shape[3]
        window = (slice(y, y + height), slice(x, x + width))
        pixels = images[:, :, window[0], window[1]].astype(np.float32)
        if self.mean is not None:
            pixels -= self.mean[:, window[0], window[1]] if self.mean.shape[-2:] != (1, 1) else self.mean
        return pixels * self.scale


def predict(args):
    use_device(args.gpu)
    images = np.load(args.source, mmap_mode="r", allow_pickle=False)
    transform = Transform(text_format.Parse(args.transform, caffe_pb2.TransformationParameter()))
    for done, (weights, out) in enumerate(zip(args.weights, args.out), 1):  # noqa: B905 -- Python 3.6 has no strict
        probs = scores(args, weights, images, transform)
        with open(out, "wb") as stream:
            np.savez(stream, probs=probs)
        ipc.say(ipc.Answered(done, len(args.out)))
    return 0


def scores(args, weights, images, transform):
    """float32 [N,K]. The net is a new one: copied into another's, a file would leave what it lacks as it was there."""
    net = caffe.Net(args.model, weights, caffe.TEST)
    # By number, as a name that is no UTF-8 ends pycaffe's own access by name.
    names = names_of(net._blob_names)
    source, output = net._inputs[0], names.index("prob") if "prob" in names else net._outputs[0]
    offsets = transform.offsets(images.shape[2], images.shape[3], args.ten_crop)
    probs = []
    for start in range(0, len(images), PREDICT_BATCH):
        batch = np.asarray(images[start : start + PREDICT_BATCH])
        views = []
        for offset in offsets:
            pixels = transform(batch, offset)
            views += [pixels, pixels[:, :, :, ::-1]] if args.ten_crop else [pixels]
        total = 0.0
        for pixels in views:
            if net._blobs[source].data.shape != pixels.shape:
                net._blobs[source].reshape(*pixels.shape)
                net.reshape()
            net._blobs[source].data[...] = pixels
            net._forward(0, len(net.layers) - 1)
            total = total + net._blobs[output].data.reshape(len(batch), -1).astype(np.float64)
        probs.append((total / len(views)).astype(np.float32))
        ipc.say(ipc.Predicted(start + len(batch), len(images)))
    return np.concatenate(probs)


# ---- describe, doctor


def names_of(names):
    """pycaffe's names as str; a byte that is no UTF-8 as the character that fer reads in its place (U+F780 on)."""
    found = []
    for i in range(len(names)):
        try:
            found.append(names[i])
        except UnicodeDecodeError as error:
            text = error.object.decode("utf-8", "surrogateescape")
            found.append("".join(chr(ord(c) + 0xF700 - 0xDC00) if "\udc80" <= c <= "\udcff" else c for c in text))
    return found


def versions():
    caffe_version = getattr(caffe, "__version__", "unknown")
    python, protobuf = sys.version.split()[0], google.protobuf.__version__
    return {"caffe": caffe_version, "python": python, "numpy": np.__version__, "protobuf": protobuf}


def layers(_args):
    print(json.dumps({"layer_types": sorted(caffe.layer_type_list())}))
    return 0


def describe(args):
    """Print the net as JSON: params {layer: [shape, ...]}, blobs {name: shape}, types {layer: type}, versions."""
    caffe.set_mode_cpu()
    net = net_in_state(args)
    named = list(zip(names_of(net._layer_names), net.layers))  # noqa: B905 -- Python 3.6 has no strict
    blobs = zip(names_of(net._blob_names), net._blobs)  # noqa: B905
    answer = {
        "params": {name: [list(blob.data.shape) for blob in layer.blobs] for name, layer in named if len(layer.blobs)},
        "blobs": {name: list(blob.data.shape) for name, blob in blobs},
        "types": {name: layer.type for name, layer in named},
        "versions": versions(),
    }
    print(json.dumps(answer))
    return 0


def net_in_state(args):
    # Not every pycaffe's Net takes stages, so the state goes into a copy of the file.
    net_param = read_text(args.model, caffe_pb2.NetParameter())
    net_param.state.phase = caffe_pb2.Phase.Value(args.phase)
    net_param.state.level = args.level
    net_param.state.stage.extend(args.stage)
    with tempfile.TemporaryFile("w", encoding="latin-1") as stream:  # without a name, as no kill can leave it behind
        stream.write(text_format.MessageToString(net_param, as_utf8=True))
        stream.flush()
        return caffe.Net("/proc/self/fd/%d" % stream.fileno(), getattr(caffe, args.phase))


def batch(args):
    """Write each output of the net after one forward pass, by its name."""
    caffe.set_mode_cpu()
    if args.seed >= 0:
        caffe.set_random_seed(args.seed)
    net = net_in_state(args)
    net._forward(0, len(net.layers) - 1)
    names = names_of(net._blob_names)
    with open(args.out, "wb") as stream:
        np.savez(stream, **{names[index]: net._blobs[index].data for index in net._outputs})
    return 0


ONE_STEP = """
base_lr: 0.1 lr_policy: "fixed" max_iter: 1 display: 0 solver_mode: CPU random_seed: 1 snapshot_after_train: false
net_param {
  layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
    shape { dim: 4 dim: 3 } shape { dim: 4 } data_filler { type: "gaussian" std: 1 } data_filler { value: 1 } } }
  layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2
    weight_filler { type: "xavier" } } }
  layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
}
"""


def one_step():
    """Whether one solver step moves the weights and leaves them finite."""
    caffe.set_mode_cpu()
    with tempfile.TemporaryFile("w") as stream:  # one without a name, as no kill can leave it behind
        stream.write(ONE_STEP)
        stream.flush()
        solver = caffe.get_solver("/proc/self/fd/%d" % stream.fileno())
    before = solver.net.params["ip"][0].data.copy()
    solver.step(1)
    after = solver.net.params["ip"][0].data
    return bool(np.isfinite(after).all() and (after != before).any())


def doctor(_args):
    # set_mode_gpu aborts the whole process of a CPU-only Caffe.
    gpu = subprocess.run(
        [sys.executable, os.path.abspath(__file__), "gpu"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    answer = dict(versions(), executable=sys.executable, file=caffe.__file__)
    answer.update(layer_types=sorted(caffe.layer_type_list()), gpu=gpu.returncode == 0, one_step_ok=one_step())
    print(json.dumps(answer))
    return 0


def gpu(args):
    """Return 0 when GPU `--gpu` can be used; a CPU-only Caffe aborts here."""
    use_device(args.gpu or 0)
    return 0


VERBS = {
    "train": train, "predict": predict, "describe": describe, "batch": batch, "layers": layers, "doctor": doctor,
    "gpu": gpu,
}  # fmt: skip


def parse_arguments(argv):
    parser = argparse.ArgumentParser(prog="worker.py", description="Real Caffe behind a few verbs.")
    subparsers = parser.add_subparsers(dest="verb")
    subparsers.required = True
    for name in VERBS:
        verb = subparsers.add_parser(name)
        verb.add_argument("--gpu", type=int)
        if name == "train":
            verb.add_argument("--solver", required=True)
            start = verb.add_mutually_exclusive_group()
            start.add_argument("--snapshot")
            start.add_argument("--weights")
        if name == "predict":
            for option in ("model", "source"):
                verb.add_argument("--" + option, required=True)
            for option in ("weights", "out"):
                verb.add_argument("--" + option, action="append", required=True)
            verb.add_argument("--transform", default="", metavar="TEXT", help="a TransformationParameter's prototxt")
            verb.add_argument("--ten-crop", action="store_true")
        if name == "batch":
            verb.add_argument("--out", required=True)
            verb.add_argument("--seed", type=int, default=-1)
        if name in ("describe", "batch"):
            verb.add_argument("--model", required=True)
            verb.add_argument("--phase", choices=("TRAIN", "TEST"), required=True)
            verb.add_argument("--stage", action="append", default=[])
            verb.add_argument("--level", type=int, default=0)
    arguments = parser.parse_args(argv)
    if arguments.verb == "predict" and len(arguments.weights) != len(arguments.out):
        parser.error("as many --out as --weights are needed")
    return arguments


if __name__ == "__main__":
    arguments = parse_arguments(sys.argv[1:])
    sys.exit(VERBS[arguments.verb](arguments))

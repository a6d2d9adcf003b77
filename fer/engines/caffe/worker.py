# /// script
# requires-python = "==3.9.*"
# dependencies = ["kendryte-caffe==1.0.0.20210829", "numpy<2", "protobuf<3.21"]
# ///
"""Real Caffe behind four verbs; `fer` runs this file in an interpreter of its own, and so can you:

    uv run --no-project --script worker.py train --solver solver.prototxt [--snapshot S | --weights W] [--gpu N]
    uv run --no-project --script worker.py predict --model deploy.prototxt --weights W --source images.npy
           --transform train_val.prototxt --out scores.npz [--ten-crop] [--gpu N]
    uv run --no-project --script worker.py describe --model train_val.prototxt --phase TRAIN [--stage S ...] [--level L]
    uv run --no-project --script worker.py doctor

`train` writes Caffe's own log to stderr. SIGINT and SIGTERM stop it after the running iteration with a snapshot
(exit code 130, 143); SIGHUP takes a snapshot and goes on. `--snapshot` also puts the data cursor and every random
stream back to where they were, so a resumed run gives the numbers of an uninterrupted one.

Imports caffe and numpy only (and augment.py, which lies beside it and does so too): any Python whose pycaffe is BVLC
Caffe 1.0's can run it.
"""

import argparse
import ctypes
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile

os.environ.setdefault("GLOG_logtostderr", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import augment
import caffe
import google.protobuf
import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format

PR_SET_PDEATHSIG = 1
PREDICT_BATCH = 64
# Layers that draw random numbers (or move a cursor) at every forward pass of training.
STATEFUL_LAYERS = ("Data", "ImageData", "HDF5Data", "WindowData", "DummyData", "MemoryData", "Dropout")


class Stop(Exception):
    """Raised out of Caffe's solve loop at an iteration boundary."""


def log(message):
    """Write one line in Caffe's own log format."""
    getattr(caffe, "log", lambda text: print(text, file=sys.stderr))(message)


def use_device(gpu):
    if gpu is None:
        caffe.set_mode_cpu()
    else:
        caffe.set_device(gpu)
        caffe.set_mode_gpu()


def stop_when_parent_dies():
    """A killed `fer` must not leave its training running unseen: Linux then sends this process SIGTERM."""
    parent = os.environ.get("FER_PARENT_PID")
    if parent and sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit(143)


def read_text(path, message):
    with open(path, encoding="utf-8") as stream:
        return text_format.Merge(stream.read(), message)


# ---- train


class Watch:
    """Acts on signals at iteration boundaries, where the solver's state is exactly "N iterations done"."""

    def __init__(self, solver, snapshot_every):
        self.solver = solver
        self.snapshot_every = snapshot_every
        self.first = solver.iter
        self.stop_signal = 0
        self.snapshot_wanted = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._snapshot)
        solver.add_callback(self.between_iterations, lambda: None)
        for net in solver.test_nets:
            net.before_forward(self.while_testing)

    def _stop(self, number, _frame):
        self.stop_signal = number
        signal.signal(number, signal.SIG_DFL)

    def _snapshot(self, _number, _frame):
        self.snapshot_wanted = True

    def between_iterations(self):
        if self.stop_signal:
            raise Stop
        if self.snapshot_wanted:
            self.snapshot_wanted = False
            self.snapshot()

    def while_testing(self, _layer):
        # A test pass may take minutes and changes no weight, so it can be left at any layer.
        if self.stop_signal:
            raise Stop

    def snapshot(self):
        """Snapshot unless Caffe has just taken one of this very iteration."""
        just_taken = self.snapshot_every and self.solver.iter % self.snapshot_every == 0
        if self.solver.iter == self.first or not just_taken:
            self.solver.snapshot()


def database_count(folder):
    """Number of records of an LMDB, from its newest meta page; None for anything else."""
    try:
        with open(os.path.join(folder, "data.mdb"), "rb") as stream:
            pages = [stream.read(4096), stream.read(4096)]
    except OSError:
        return None
    # Page header 16, then magic, version, address, mapsize 24, the free list's record 48, the main one's 48.
    metas = []
    for page in pages:
        if len(page) < 152 or struct.unpack_from("<I", page, 16)[0] != 0xBEEFC0DE:
            return None
        metas.append((struct.unpack_from("<Q", page, 144)[0], struct.unpack_from("<Q", page, 120)[0]))
    return max(metas)[1]


def replay(net, passes, watch):
    """Run the layers that have a cursor or a random stream as often as the finished iterations ran them."""
    for layer in net.layers:
        if isinstance(layer, augment.Augment):
            layer.seek(passes)
    indices = [i for i, layer in enumerate(net.layers) if layer.type in STATEFUL_LAYERS]
    for _ in range(passes):
        if watch.stop_signal:
            raise Stop
        for i in indices:
            net._forward(i, i)


def tests_before(solver_param, iteration):
    """How many test passes an uninterrupted run has made before iteration `iteration` begins."""
    if not solver_param.test_interval:
        return 0
    done = -(-iteration // solver_param.test_interval)
    return done if solver_param.test_initialization else max(done - 1, 0)


def test_sources(solver_param):
    """The databases of the net's TEST phase, when the solver names one net file."""
    net = caffe_pb2.NetParameter()
    if not solver_param.net:
        return []
    read_text(solver_param.net, net)
    return [
        (layer.data_param.source, layer.data_param.batch_size)
        for layer in net.layer
        if layer.type == "Data" and in_test_phase(layer)
    ]


def in_test_phase(layer):
    """Whether a layer takes part in the TEST phase, as far as phases go."""
    excluded = any(rule.HasField("phase") and rule.phase == caffe_pb2.TEST for rule in layer.exclude)
    included = [not rule.HasField("phase") or rule.phase == caffe_pb2.TEST for rule in layer.include]
    return not excluded and (any(included) or not included)


def resume(solver, solver_param, state, watch):
    """Restore weights, history and iteration, then the data cursors and random streams."""
    log("Resuming from " + state)
    solver.restore(state)
    watch.first = done = solver.iter
    log("Replaying the data of %d iterations" % done)
    replay(solver.net, done * max(solver_param.iter_size, 1), watch)
    sources = test_sources(solver_param)
    for number, net in enumerate(solver.test_nets):
        passes = solver_param.test_iter[number]
        counts = [(passes * batch, database_count(source)) for source, batch in sources]
        # After whole epochs the test net's data layer stands at the start again by itself.
        if not counts or any(not count or images % count for images, count in counts):
            replay(net, passes * tests_before(solver_param, done), watch)


def train(args):
    stop_when_parent_dies()
    use_device(args.gpu)
    solver_param = caffe_pb2.SolverParameter()
    read_text(args.solver, solver_param)
    augment.Augment.run_seed = max(solver_param.random_seed, 0) % 2**32
    solver = caffe.get_solver(args.solver)
    watch = Watch(solver, solver_param.snapshot)
    if args.weights:
        for path in args.weights.split(","):
            log("Finetuning from " + path)
            solver.net.copy_from(path)
            for net in solver.test_nets:
                net.copy_from(path)
    try:
        if args.snapshot:
            resume(solver, solver_param, args.snapshot, watch)
        solver.solve()
    except Stop:
        watch.snapshot()
        log("Optimization stopped early.")
        return 128 + watch.stop_signal
    return 0


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


def test_transform(path):
    """The transform of the net's first data layer of the TEST phase."""
    net = read_text(path, caffe_pb2.NetParameter())
    for layer in net.layer:
        if layer.type in ("Data", "ImageData") and in_test_phase(layer):
            return Transform(layer.transform_param)
    return Transform(caffe_pb2.TransformationParameter())


def predict(args):
    use_device(args.gpu)
    images = np.load(args.source, mmap_mode="r", allow_pickle=False)
    transform = test_transform(args.transform)
    net = caffe.Net(args.model, args.weights, caffe.TEST)
    source, output = net.inputs[0], "prob" if "prob" in net.blobs else net.outputs[0]
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
            if net.blobs[source].data.shape != pixels.shape:
                net.blobs[source].reshape(*pixels.shape)
                net.reshape()
            net.blobs[source].data[...] = pixels
            total = total + net.forward()[output].reshape(len(batch), -1).astype(np.float64)
        probs.append((total / len(views)).astype(np.float32))
        print("predicted %d of %d" % (start + len(batch), len(images)), file=sys.stderr, flush=True)
    with open(args.out, "wb") as stream:
        np.savez(stream, probs=np.concatenate(probs))
    return 0


# ---- describe, doctor


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
    # Not every pycaffe's Net takes stages, so the state goes into a copy of the file.
    net_param = read_text(args.model, caffe_pb2.NetParameter())
    net_param.state.phase = caffe_pb2.Phase.Value(args.phase)
    net_param.state.level = args.level
    net_param.state.stage.extend(args.stage)
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as stream:
        stream.write(text_format.MessageToString(net_param))
        stream.flush()
        net = caffe.Net(stream.name, getattr(caffe, args.phase))
    answer = {
        "params": {name: [list(blob.data.shape) for blob in blobs] for name, blobs in net.params.items()},
        "blobs": {name: list(blob.data.shape) for name, blob in net.blobs.items()},
        "types": {net._layer_names[i]: layer.type for i, layer in enumerate(net.layers)},
        "versions": versions(),
    }
    print(json.dumps(answer))
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
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as stream:
        stream.write(ONE_STEP)
        stream.flush()
        solver = caffe.get_solver(stream.name)
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


VERBS = {"train": train, "predict": predict, "describe": describe, "layers": layers, "doctor": doctor, "gpu": gpu}


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
            for option in ("model", "weights", "source", "transform", "out"):
                verb.add_argument("--" + option, required=True)
            verb.add_argument("--ten-crop", action="store_true")
        if name == "describe":
            verb.add_argument("--model", required=True)
            verb.add_argument("--phase", choices=("TRAIN", "TEST"), required=True)
            verb.add_argument("--stage", action="append", default=[])
            verb.add_argument("--level", type=int, default=0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    arguments = parse_arguments(sys.argv[1:])
    sys.exit(VERBS[arguments.verb](arguments))

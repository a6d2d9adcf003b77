"""The Caffe worker's `train`: Caffe's own solver, stopped and resumed exactly."""

import os
import signal
import struct
import sys

import augment
import caffe
import ipc
from caffe.proto import caffe_pb2
from google.protobuf import text_format

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


def read_text(path, message):
    """Parse a prototxt; each byte of its strings, which Caffe takes as they are, becomes a character."""
    with open(path, encoding="latin-1") as stream:
        return text_format.Merge(stream.read(), message)


class Watch:
    """Acts on signals at iteration boundaries, where the solver's state is exactly "N iterations done"."""

    def __init__(self, solver, snapshot_every):
        self.solver = solver
        self.snapshot_every = snapshot_every
        self.first = solver.iter
        self.stop_signal = 0
        self.snapshot_wanted = False
        self.odometer = ipc.Odometer()
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
        self.odometer.show(self.solver.iter)
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
        (os.fsdecode(layer.data_param.source.encode("latin-1")), layer.data_param.batch_size)
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
    log(ipc.text_of(ipc.Replaying(done)))
    replay(solver.net, done * max(solver_param.iter_size, 1), watch)
    sources = test_sources(solver_param)
    for number, net in enumerate(solver.test_nets):
        passes = solver_param.test_iter[number]
        counts = [(passes * batch, database_count(source)) for source, batch in sources]
        # After whole epochs the test net's data layer stands at the start again by itself.
        if not counts or any(not count or images % count for images, count in counts):
            replay(net, passes * tests_before(solver_param, done), watch)


def train(args):
    ipc.stop_when_parent_dies()
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

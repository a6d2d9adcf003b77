"""What `fer train` checks before a second is spent: solver, net, data and disk, all faults in one answer."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from fer.data.directory import verify_data
from fer.data.manifest import Manifest
from fer.engines.caffe import augmentation
from fer.errors import FerError, nearest
from fer.formats.database import DatabaseInfo, check_database, read_mean
from fer.formats.prototxt import TWO_HISTORIES, read_net, read_solver, solver_net_path
from fer.formats.tokens import field_line
from fer.nets.deploy import derive_deploy
from fer.nets.infogain import read_infogain
from fer.nets.lint import KNOWN_LAYERS, State, lint_net, net_lines
from fer.nets.shapes import NetShapes, ShapeError, UnknownShapeError, infer_shapes
from fer.nets.solver_lint import lint_solver
from fer.nets.states import SHUFFLE, filter_net, taking_part, test_states, train_state
from fer.nets.zoo import net_label
from fer.schema import caffe_pb2
from fer.training.run_prototxts import layer_phases, net_for_run, solver_for_run
from fer.training.warnings import training_warnings

P = ParamSpec("P")
T = TypeVar("T")

AUGMENT = "augment"  # the module of the Python layer that both engines have
_JUDGES = ("SoftmaxWithLoss", "Accuracy", "HingeLoss", "InfogainLoss", "MultinomialLogisticLoss")
_SPARE_BYTES = 64 << 20  # for log, scores and report


@dataclass(frozen=True)
class Plan:
    """A run that may start. `solver`, `net` and `deploy` are the run directory's copies.

    `snapshot_bytes` is what all snapshots of the run will take (0 where the net's sizes are not known);
    `batch_size` is images an iteration (batch_size x iter_size; 0 where the net has no Data or ImageData layer);
    `train_count` is images an epoch.
    """

    solver: caffe_pb2.SolverParameter
    net: caffe_pb2.NetParameter
    deploy: caffe_pb2.NetParameter
    manifest: Manifest
    warnings: tuple[str, ...]
    snapshot_bytes: int
    batch_size: int
    train_count: int


def preflight(
    solver_path: str | Path,
    net_path: str | Path | None,
    data_dir: str | Path,
    *,
    known_types: Collection[str] = KNOWN_LAYERS,
    max_iter: int | None = None,
    seed: int | None = None,
    gpu: int | None = None,
    shuffle: bool = False,
    snapshot_prefix: str = "snapshots/<net>",
    run_parent: str | Path = Path("runs"),
) -> Plan:
    """Check a solver, its net and a data directory, and plan the run.

    `net_path` None: the net that the solver names. `max_iter`, `seed`, `gpu` take the place of the solver's own;
    `shuffle` adds the stage of that name.
    `<net>` in `snapshot_prefix` becomes the net's name. `run_parent` is the folder whose disk takes the snapshots.
    Raises one FerError that lists every fault found, each with its file and line.
    """
    faults: list[str] = []
    solver = _attempt(faults, read_solver, solver_path)
    if solver is not None:
        if max_iter is not None:
            solver.max_iter = max_iter
        if shuffle and SHUFFLE not in solver.train_state.stage:
            solver.train_state.stage.append(SHUFFLE)
        faults += lint_solver(solver, solver_path)
        if net_path is None:
            net_path = _attempt(faults, solver_net_path, solver, solver_path)
    net = None if net_path is None else _attempt(faults, read_net, net_path)
    manifest = _attempt(faults, verify_data, Path(data_dir))
    check = None
    if solver is not None and net is not None and net_path is not None:
        check = _Check(solver, Path(solver_path), net, Path(net_path), faults)
        check.wiring(known_types)
        if manifest is not None:
            check.data(net_for_run(net, data_dir), manifest)
    if check is None or manifest is None or faults:
        raise FerError(_listed(faults))
    shapes = check.sizes(manifest.classes)
    snapshot_bytes = check.disk(shapes, Path(run_parent))
    shape = check.image_shape("TEST") or manifest.image.shape
    deploy = _attempt(faults, derive_deploy, check.net, shape)
    if faults or deploy is None:
        raise FerError(_listed(faults))
    batch_size, train_count = check.epoch(manifest.splits["train"].count)
    prefix = snapshot_prefix.replace("<net>", net_label(check.net_path))
    return Plan(
        solver=solver_for_run(check.solver, snapshot_prefix=prefix, seed=seed, gpu=gpu),
        net=check.net,
        deploy=deploy,
        manifest=manifest,
        warnings=tuple(training_warnings(check.solver, check.net, lambda source: check.databases[source].count)),
        snapshot_bytes=snapshot_bytes,
        batch_size=batch_size,
        train_count=train_count,
    )


def _attempt(faults: list[str], function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """The function's answer, or None with its FerError's text among the faults."""
    try:
        return function(*args, **kwargs)
    except FerError as error:
        faults.append(str(error))
        return None


def _listed(faults: list[str]) -> str:
    lines = [line for fault in dict.fromkeys(faults) for line in fault.splitlines()]
    return lines[0] if len(lines) == 1 else "\n".join(["not started; to mend first:", *lines])


class _Check:
    """The checks that need solver and net together; each adds what it finds to `faults`."""

    def __init__(
        self,
        solver: caffe_pb2.SolverParameter,
        solver_path: Path,
        net: caffe_pb2.NetParameter,
        net_path: Path,
        faults: list[str],
    ):
        self.solver, self.solver_path = solver, solver_path
        self.net, self.net_path = net, net_path
        self.faults = faults
        self.lines = net_lines(net, net_path)
        self.train = State("TRAIN", *train_state(solver))
        self.tests = [State("TEST", *state) for state in test_states(solver)]
        self.databases: dict[str, DatabaseInfo] = {}
        self.image_lists: dict[str, int] = {}

    def _fault(self, position: int, sentence: str) -> None:
        self.faults.append(f"{self.net_path}:{self.lines[position]}: {sentence}")

    def _positions(self, state: State) -> list[int]:
        return taking_part(self.net, state.phase, stages=state.stages, level=state.level)

    def wiring(self, known_types: Collection[str]) -> None:
        """Stages known to the net; then the net's own faults, in the states that the solver puts it in."""
        named = {s for layer in self.net.layer for rule in (*layer.include, *layer.exclude) for s in rule.stage}
        named |= {s for layer in self.net.layer for rule in (*layer.include, *layer.exclude) for s in rule.not_stage}
        unknown = [stage for stage in self.train.stages if stage not in named and stage != SHUFFLE]
        line = field_line(self.solver_path.read_text(encoding="utf-8"), "train_state")
        for stage in unknown:
            hint = nearest(stage, named) or (f"; it has {', '.join(sorted(named))}" if named else "")
            self.faults.append(f"{self.solver_path}:{line}: the net has no stage {stage!r}{hint}")
        states = self.tests or [State("TEST")]
        self.faults += lint_net(self.net, self.net_path, known_types, states if unknown else [self.train, *states])
        if any(layer.include and layer.exclude for layer in self.net.layer) or unknown:
            return
        positions = self._positions(self.train)
        if not any(self._is_loss(self.net.layer[i]) for i in positions):
            self.faults.append(f"{self.net_path}:1: no loss layer takes part in TRAIN: there is nothing to learn from")
        if self.tests:
            for i, phases in layer_phases(self.net).items():
                if self.net.layer[i].type == "Data" and len(phases) == 2:
                    name = self.net.layer[i].name
                    self._fault(i, f"layer {name!r} feeds training and testing alike; add  include {{ phase: TRAIN }}")

    @staticmethod
    def _is_loss(layer: caffe_pb2.LayerParameter) -> bool:
        return layer.type.endswith("Loss") or any(layer.loss_weight)

    def data(self, net: caffe_pb2.NetParameter, manifest: Manifest) -> None:
        """Every Datum of the databases used, and that crop and mean fit them. `net`: the run directory's copy."""
        self.net = net
        if any(layer.include and layer.exclude for layer in net.layer):
            return
        classes = len(manifest.classes)
        for i in dict.fromkeys(i for state in (self.train, *self.tests) for i in self._positions(state)):
            if net.layer[i].type == "Data":
                self._database(i, net.layer[i], classes)
            elif net.layer[i].type == "ImageData":
                self._image_list(i, net.layer[i], classes)
            elif net.layer[i].infogain_loss_param.source:
                self._infogain(i, net.layer[i], classes)
            elif net.layer[i].python_param.module == AUGMENT:
                self._augment(i, net.layer[i])

    def _database(self, i: int, layer: caffe_pb2.LayerParameter, classes: int) -> None:
        source = layer.data_param.source
        if source not in self.databases:
            info = _attempt(self.faults, check_database, Path(source), classes)
            if info is None:
                return
            self.databases[source] = info
        if layer.data_param.backend != caffe_pb2.DataParameter.LMDB:
            self._fault(i, f"layer {layer.name!r} has no  backend: LMDB  (Caffe's default is LEVELDB)")
        self._transform(i, layer, self.databases[source].shape)

    def _image_list(self, i: int, layer: caffe_pb2.LayerParameter, classes: int) -> None:
        source = layer.image_data_param.source
        try:
            lines = Path(source).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            self._fault(i, f"layer {layer.name!r}: its list {source} cannot be read")
            return
        labels = [line.rpartition(" ")[2] for line in lines if line]
        wrong = [label for label in labels if not (label.isascii() and label.isdigit() and int(label) < classes)]
        if wrong or not labels:
            what = f"has a label {wrong[0]!r}, which is not 0..{classes - 1}" if wrong else "is empty"
            self._fault(i, f"layer {layer.name!r}: its list {source} {what}")
        self.image_lists[source] = len(labels)

    def _infogain(self, i: int, layer: caffe_pb2.LayerParameter, classes: int) -> None:
        try:
            read_infogain(Path(layer.infogain_loss_param.source), classes)
        except FerError as error:
            self._fault(i, f"layer {layer.name!r}: {error}; fer infogain writes one")

    def _augment(self, i: int, layer: caffe_pb2.LayerParameter) -> None:
        try:
            augmentation.parse(layer.python_param.param_str)
        except ValueError as error:
            self._fault(i, f"layer {layer.name!r}: {error}")

    def _transform(self, i: int, layer: caffe_pb2.LayerParameter, shape: tuple[int, int, int]) -> None:
        param, (channels, height, width) = layer.transform_param, shape
        if param.crop_size > min(height, width):
            cure = "a crop of 227 wants data made with  fer prepare --resize 256" if param.crop_size > 48 else ""
            sentence = f"layer {layer.name!r}: crop_size {param.crop_size} does not fit images of {height}x{width}"
            self._fault(i, f"{sentence}; {cure}" if cure else sentence)
        if len(param.mean_value) not in (0, 1, channels):
            self._fault(i, f"layer {layer.name!r}: {len(param.mean_value)} mean_value for {channels} channel(s)")
        if param.mean_file:
            mean = _attempt(self.faults, read_mean, Path(param.mean_file))
            if mean is not None and mean.shape != shape:
                self._fault(
                    i,
                    f"layer {layer.name!r}: the mean {param.mean_file} is {_by(mean.shape)}, "
                    f"its images are {_by(shape)}; take the mean made from the same data",
                )

    def image_shape(self, phase: str) -> tuple[int, int, int] | None:
        """(channels, height, width) of the images in a phase's first data layer, before any crop, if known."""
        state = self.train if phase == "TRAIN" else (self.tests or [State("TEST")])[0]
        for i in self._positions(state):
            layer = self.net.layer[i]
            if layer.type == "Data" and layer.data_param.source in self.databases:
                return self.databases[layer.data_param.source].shape
            if layer.type == "ImageData" and layer.image_data_param.new_height:
                param = layer.image_data_param
                return (3 if param.is_color else 1, param.new_height, param.new_width)
        return None

    def sizes(self, classes: tuple[str, ...]) -> NetShapes | None:
        """Shapes of the training net; that all layers fit in every state and that the net scores every class."""
        trained = None
        for state in (self.train, *self.tests):
            net = filter_net(self.net, state.phase, stages=state.stages, level=state.level)
            positions = self._positions(state)
            try:
                shapes = infer_shapes(net, self.image_shape(state.phase))
            except UnknownShapeError:
                continue
            except ShapeError as error:
                self._fault(positions[error.position], str(error))
                continue
            self._outputs(net, positions, shapes, classes)
            trained = shapes if state is self.train else trained
        return trained

    def _outputs(
        self, net: caffe_pb2.NetParameter, positions: list[int], shapes: NetShapes, classes: tuple[str, ...]
    ) -> None:
        for judge in net.layer:
            if judge.type not in _JUDGES:
                continue
            scores = shapes.blobs[judge.bottom[0]]
            if len(scores) > 1 and scores[1] != len(classes):
                makers = [k for k, layer in enumerate(net.layer) if judge.bottom[0] in layer.top]
                first = net.layer[makers[0]]
                self._fault(
                    positions[makers[0]],
                    f"layer {first.name!r} gives {scores[1]} scores to {judge.name!r} for {len(classes)} classes "
                    f"({', '.join(classes)}); set  num_output: {len(classes)}",
                )

    def disk(self, shapes: NetShapes | None, run_parent: Path) -> int:
        """Bytes of all snapshots of the run, and that the disk has room for them."""
        if shapes is None:
            return 0
        copies = 3 if self.solver.type in TWO_HISTORIES else 2
        count = math.ceil(self.solver.max_iter / (self.solver.snapshot or self.solver.max_iter))
        one = 4 * shapes.param_count * copies
        folder = run_parent.absolute()
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        if count * one + _SPARE_BYTES > free:
            self.faults.append(
                f"the run's {count} snapshots of {_mib(one)} need {_mib(count * one)}, and {folder} has {_mib(free)} "
                "free\nmake room, or take snapshots less often (snapshot in the solver)"
            )
        return count * one

    def epoch(self, usual: int) -> tuple[int, int]:
        """Images an iteration, and images in the training data (`usual` where its layer does not tell)."""
        for i in self._positions(self.train):
            layer = self.net.layer[i]
            if layer.type == "Data":
                count = self.databases[layer.data_param.source].count
                return layer.data_param.batch_size * self.solver.iter_size, count
            if layer.type == "ImageData":
                count = self.image_lists[layer.image_data_param.source]
                return layer.image_data_param.batch_size * self.solver.iter_size, count
        return 0, usual


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"

"""A training made elsewhere, by any Caffe, as a run directory: found, checked, converted, and then given its name.

run = import_training([Path("job.tar.gz")], Path("data/fer2013"))
"""

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fer.data.manifest import Manifest, read_manifest
from fer.engines.choice import Wish, choose_engine
from fer.engines.engine import Demand, Engine
from fer.engines.process import EngineFailed
from fer.errors import FerError
from fer.formats.blobs import write_blob
from fer.formats.prototxt import read_solver, write_text
from fer.imports.chosen import choose_classes, choose_mean, maker_said, read_info, size_said
from fer.imports.given import Given, GivenFile, given_files
from fer.imports.heads import find_heads
from fer.imports.logs import training_log
from fer.imports.nets import MEAN, Hints, Images, images_for_deploy, images_of, net_around, net_on_data, read_nets
from fer.imports.nets import read as read_net
from fer.imports.parts import Options, Parts, base_name, find_parts
from fer.imports.record import Facts, imported_record
from fer.imports.snapshots import Target, blobs_of, find_pairs, take_snapshots
from fer.imports.tested import front_read, with_test_data
from fer.nets.deploy import derive_deploy
from fer.nets.infogain import read_infogain, write_infogain
from fer.nets.states import State, filter_net, scored_state, test_states, train_state
from fer.nets.zoo import file_name
from fer.runs.create import create_run
from fer.runs.run import DEPLOY, NET, SNAPSHOTS, SOLVER, Run
from fer.schema import caffe_pb2
from fer.system.escapes import some_names
from fer.system.files import scratch
from fer.training.run_prototxts import solver_for_run

Say = Callable[[str], None]
_MOST_LISTED = 6
_PACKED = re.compile(r"(\.tar)?\.(gz|bz2|xz|tgz|zip|tar)$")


@dataclass(frozen=True)
class Wanted:
    """How a training is imported; `scale` is for a net of which nothing but its deploy is known."""

    parts: Options = field(default_factory=Options)
    name: str | None = None
    runs_dir: Path = Path("runs")
    scale: float | None = None
    python_layers: bool = False


def import_training(paths: Sequence[Path], data_dir: Path, wanted: Wanted | None = None, say: Say | None = None) -> Run:
    """Make a run directory of a training's files, whole or not at all, and return it; `say` is told what was done.

    Its net reads the data directory's faces, its parameters are put into the data's order of classes, and snapshots in
    any of Caffe's formats are kept in today's. Raises FerError for a piece that is missing or does not fit, with what
    was looked for.
    """
    wanted, say = wanted or Wanted(), say or (lambda text: None)
    manifest = read_manifest(data_dir)
    if wanted.name and (taken := wanted.runs_dir / file_name(wanted.name)).exists():
        raise FerError(f"{taken} exists already: take another --name")
    with scratch("fer-import-") as folder:
        given = given_files(paths, folder / "given")
        for what in given.unopened:
            say(f"not opened: {what}")
        parts = find_parts(given, wanted.parts, manifest.classes)
        if parts.left:
            say(f"not used: {some_names(parts.left, _MOST_LISTED)}")
        training = _Training(paths, data_dir, manifest, given, parts, wanted, say)
        return training.imported(folder / "run")


@dataclass
class _Training:
    """One training on its way to a run; `notes` are for its report, `dropped` what forks wrote into its prototxts."""

    paths: Sequence[Path]
    data_dir: Path
    manifest: Manifest
    given: Given
    parts: Parts
    wanted: Wanted
    say: Say
    notes: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def imported(self, folder: Path) -> Run:
        """The run, made in `folder` and copied from there under its name."""
        folder.mkdir()
        info = read_info(self.parts)
        solver = self._solver()
        names, order = choose_classes(self.parts, self.given, self.wanted.parts.labels, self.manifest.classes)
        state, net, images = self._net(solver, size_said(info))
        for what in self.dropped:
            self.say(f"left out: {what}")
        copy_matrices(net, self.parts, folder, order)
        stem = f"{SNAPSHOTS}/{file_name(net.name or self._label())}"
        own = solver_for_run(solver or caffe_pb2.SolverParameter(), snapshot_prefix=stem)
        deploy = derive_deploy(net, images.shape, state)
        for name, message in ((SOLVER, own), (NET, net), (DEPLOY, deploy)):
            write_text(folder / name, message)
        if images.mean is not None and images.mean.shape[1:] != (1, 1):
            write_blob(folder / MEAN, images.mean[None])
        engine = self._engine(net, deploy, solver)
        target = self._target(engine, folder, net, solver, order, stem)
        pairs = find_pairs(self.parts, solver.snapshot_prefix if solver else "", self._leave_out)
        snapshots = take_snapshots(pairs, target, self._leave_out)
        taken = [pair for pair in pairs if pair.iteration in snapshots]
        asked_for = self.wanted.parts.log is not None
        log, log_file = training_log(self.parts, folder.parent, self.say, asked_for=asked_for)
        if log is None:
            self.notes.append("No log of the training was given: there are no curves.")
        sentence = images.sentence(self.manifest.image.shape)
        facts = Facts(
            self.paths, self.data_dir, self.manifest, self.parts, solver, engine.name, taken, snapshots, log, log_file,
            tuple(names), sentence, maker_said(info), tuple(self.notes), target.heads.are_moved,
        )  # fmt: skip
        record = imported_record(facts, net, folder, Path(stem).name)
        prototxts = {name: (folder / name).read_bytes() for name in (SOLVER, NET, DEPLOY)}
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        if log_file:
            files["train.log"] = log_file
        others = {name: path for name, path in files.items() if name not in prototxts}
        exact = self.wanted.name is not None
        return create_run(self.wanted.runs_dir, self._label(), record, prototxts, files=others, exact=exact)

    def _leave_out(self, what: str) -> None:
        """Say of a snapshot that it is left out, now and in the report."""
        self.say(f"left out: {what}")
        self.notes.append(f"Left out: {what}")

    def _label(self) -> str:
        """What the run is called: as asked for, or as what was given."""
        first = self.paths[0] if len(self.paths) == 1 else self.paths[0].parent
        return file_name(self.wanted.name or _PACKED.sub("", first.resolve().name) or "imported")

    def _solver(self) -> caffe_pb2.SolverParameter | None:
        file = self.parts.solver
        if file is None:
            return None
        with file.told():
            return read_solver(file.path, self.dropped)

    def _net(
        self, solver: caffe_pb2.SolverParameter | None, size: tuple[int, int] | None
    ) -> tuple[State, caffe_pb2.NetParameter, Images]:
        """(state that is scored, the run's net, how its images are made)."""
        parts = self.parts
        deploy = (read_net(parts.deploy, self.dropped), parts.deploy) if parts.deploy else None
        if not parts.nets:
            assert deploy is not None
            return self._net_for_use(*deploy)
        net, state = read_nets(parts.nets, self.dropped), scored_state(solver or caffe_pb2.SolverParameter())
        states = [train_state(solver), *test_states(solver)] if solver else []
        name = parts.nets[-1].name
        try:
            net, note = with_test_data(net, train_state(solver) if solver else State("TRAIN"), state)
            front = front_read(net, state)
        except FerError as error:
            if deploy is None:
                raise FerError(
                    f"{name}: {error}\ngive its deploy.prototxt too, with --mean FILE and --scale X"
                ) from None
            unscaled = " Pixels are not multiplied: --scale X where they were." * (self.wanted.scale is None)
            self.notes.append(f"{name}: {error}. It is scored by {deploy[1].name}, not trained further.{unscaled}")
            parts.leave_nets()
            return self._net_for_use(*deploy)
        self.notes += note
        if self.wanted.scale is not None:
            raise FerError(f"--scale: {parts.nets[0].name} has its own; leave it out")
        mean_file = front.transform_param.mean_file
        mean = choose_mean(parts, self.given, self.wanted.parts.mean, mean_file, self.say, _matrices(net))
        hints = Hints(deploy, self._channels(net, front, state), size, mean)
        images = images_of(net, state, hints, self.manifest, name)
        return state, net_on_data(net, states, images, self.data_dir, self.manifest.image.shape), images

    def _net_for_use(
        self, deploy: caffe_pb2.NetParameter, file: GivenFile
    ) -> tuple[State, caffe_pb2.NetParameter, Images]:
        """As `_net`, where nothing but the deploy net says how images are made."""
        mean = choose_mean(self.parts, self.given, self.wanted.parts.mean, None, self.say)
        if mean is None:
            self.notes.append("Only its deploy net is known, and no mean was given: none is taken away.")
        scale = 1.0 if self.wanted.scale is None else self.wanted.scale
        images = images_for_deploy(Hints((deploy, file), mean=mean), scale)
        net, state = net_around(deploy, file, images), State("TEST")
        states, stored = [State("TRAIN"), state], self.manifest.image.shape
        return state, net_on_data(net, states, images, self.data_dir, stored), images

    def _channels(self, net: caffe_pb2.NetParameter, front: caffe_pb2.LayerParameter, state: State) -> int | None:
        """The channels that the first layer's weights take, where it is a convolution."""
        first = next((layer for layer in filter_net(net, state).layer if front.top[0] in layer.bottom), None)
        if first is None or first.type != "Convolution":
            return None
        for file in self.parts.weights:
            with contextlib.suppress(FerError):  # a damaged one is left out, and told, later on
                if blobs := blobs_of(file).get(first.name):
                    return int(blobs[0].shape[1]) * first.convolution_param.group
        return None

    def _engine(
        self, net: caffe_pb2.NetParameter, deploy: caffe_pb2.NetParameter, solver: caffe_pb2.SolverParameter | None
    ) -> Engine:
        """The engine that builds the net, and scores it. BatchNorm learns nothing there, so any will do."""
        trained = filter_net(net, train_state(solver)).layer if solver else ()
        types = frozenset(layer.type for layer in (*deploy.layer, *trained))
        demand = Demand(types, None, solver.type if solver else "SGD")
        return choose_engine(Wish(demand=demand), self.say).allowing(self.wanted.python_layers)

    def _target(
        self,
        engine: Engine,
        folder: Path,
        net: caffe_pb2.NetParameter,
        solver: caffe_pb2.SolverParameter | None,
        order: Sequence[int],
        stem: str,
    ) -> Target:
        """What snapshots must fit: the net as an engine builds it for training, or for use where no more is known."""
        state = train_state(solver) if solver else State("TRAIN" if self.parts.nets else "TEST")
        name = self.parts.nets[0] if self.parts.nets else self.parts.deploy
        assert name is not None
        try:
            shapes = engine.describe(Path(NET), state, folder=folder)["params"]
        except EngineFailed as failure:
            where = f"layer {failure.layer!r}: " if failure.layer else ""
            raise FerError(f"{name.name}: {engine.title} cannot build this net: {where}{failure.reason}") from failure
        tested = scored_state(solver or caffe_pb2.SolverParameter())
        heads = find_heads(net, [state, tested], order, shapes, name.name)
        known = solver if self.parts.nets else None
        return Target(filter_net(net, state).layer, shapes, heads, known, folder, stem)


def _matrices(net: caffe_pb2.NetParameter) -> set[str]:
    return {base_name(source) for layer in net.layer if (source := layer.infogain_loss_param.source)}


def copy_matrices(net: caffe_pb2.NetParameter, parts: Parts, folder: Path, order: Sequence[int]) -> None:
    """Take the matrices of InfogainLoss layers along, in the data's order of classes."""
    for layer in net.layer:
        if source := layer.infogain_loss_param.source:
            base = base_name(source)
            file = next((file for file in parts.means if file.base == base), None)
            file = file or (parts.nets[-1].beside(source) if parts.nets else None)
            if file is None:
                raise FerError(
                    f"layer {layer.name!r} has its matrix from {source}, and it was not found: looked for a file "
                    f"{base}\ngive its path too"
                )
            with file.told():
                matrix = read_infogain(file.path, len(order))
            write_infogain(folder / file_name(base), matrix[np.ix_(order, order)])
            layer.infogain_loss_param.source = file_name(base)

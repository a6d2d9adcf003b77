"""Verifying what an engine wrote before anything trusts it, and giving it its final name.

A snapshot can be cut short by a full disk, by a kill, or hold nan, and Caffe loads it all the same.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from fer.errors import FerError
from fer.formats.blobs import blob_shape, from_blob, is_legacy, same_shape, shape_text
from fer.formats.prototxt import TWO_HISTORIES, read_weights
from fer.runs.record import Average, SnapshotFiles, average_name
from fer.runs.run import Run, Snapshot
from fer.schema import caffe_pb2
from fer.system.arrays import DamagedArchive, read_arrays
from fer.system.files import sync, write_bytes
from fer.system.hashes import file_hash

# Parameter shapes by layer, as the engine describes a net.
Shapes = Mapping[str, Sequence[Sequence[int]]]


class SnapshotFault(FerError):
    """A snapshot that must not be used, and why."""


def verify_weights(path: Path, shapes: Shapes) -> caffe_pb2.NetParameter:
    """The .caffemodel, if it holds every parameter of the net, right in shape and finite. Raises SnapshotFault."""
    try:
        weights = read_weights(path)
    except FerError as error:
        raise SnapshotFault(str(error)) from error
    layers = {layer.name: layer for layer in weights.layer}
    for name, expected in shapes.items():
        blobs = layers[name].blobs if name in layers else []
        if len(blobs) != len(expected):
            raise SnapshotFault(
                f"{path}: layer {name!r} has {len(blobs)} parameter blobs, where the net has {len(expected)}"
            )
        for number, (blob, shape) in enumerate(zip(blobs, expected, strict=True)):
            _check_blob(f"{path}: layer {name!r}, blob {number}", blob, shape)
    return weights


def _check_blob(where: str, blob: caffe_pb2.BlobProto, shape: Sequence[int]) -> None:
    try:
        values = from_blob(blob, where)
    except FerError as error:
        raise SnapshotFault(str(error)) from error
    if not _fits(blob, shape):
        raise SnapshotFault(f"{where} has shape {shape_text(values.shape)}, where the net has {shape_text(shape)}")
    if not np.isfinite(values).all():
        raise SnapshotFault(f"{where} holds nan or inf")


def _fits(blob: caffe_pb2.BlobProto, shape: Sequence[int]) -> bool:
    return same_shape(blob_shape(blob), shape, legacy=is_legacy(blob))


def verify_state(
    path: Path, iteration: int, weights: caffe_pb2.NetParameter, solver_type: str
) -> caffe_pb2.SolverState:
    """The .solverstate, once it is whole, of this iteration, and fits the weights. Raises SnapshotFault."""
    state = caffe_pb2.SolverState()
    try:
        state.ParseFromString(path.read_bytes())
    except OSError as error:
        raise SnapshotFault(f"cannot read {path}: {error.strerror}") from error
    except DecodeError as error:
        raise SnapshotFault(f"{path} is cut short or is no .solverstate") from error
    # Caffe writes current_step last, so without it the end is missing even where the rest parses.
    if not state.HasField("iter") or not state.HasField("current_step"):
        raise SnapshotFault(f"{path} is cut short: its iteration or step is missing")
    if state.iter != iteration:
        raise SnapshotFault(f"{path} is of iteration {state.iter}, where its name says {iteration}")
    learnable = [blob_shape(blob) for _, _, blob in learnable_blobs(weights)]
    expected = learnable * (2 if solver_type in TWO_HISTORIES else 1)
    if len(state.history) != len(expected):
        raise SnapshotFault(f"{path} keeps {len(state.history)} histories, where {len(expected)} parameters need them")
    for number, (blob, shape) in enumerate(zip(state.history, expected, strict=True)):
        _check_blob(f"{path}: history {number}", blob, shape)
    return state


def verify_extra(path: Path, iteration: int) -> None:
    """Raise SnapshotFault unless an engine's .fer.npz is whole and of this iteration."""
    try:
        found = int(read_arrays(path)["iteration"])
    except (DamagedArchive, OSError, KeyError, TypeError, ValueError) as error:
        raise SnapshotFault(f"{path} is damaged: {error}") from error
    if found != iteration:
        raise SnapshotFault(f"{path} is of iteration {found}, where its name says {iteration}")


def learnable_blobs(weights: caffe_pb2.NetParameter) -> Iterator[tuple[str, int, caffe_pb2.BlobProto]]:
    """The parameters that a solver keeps a history of, in its order, each with its layer's name and its place there:
    those shared by name count once."""
    seen = set()
    for layer in weights.layer:
        for number, blob in enumerate(layer.blobs):
            name = layer.param[number].name if number < len(layer.param) else ""
            if not name or name not in seen:
                yield layer.name, number, blob
            seen.add(name)


def check_start_weights(path: Path, shapes: Shapes) -> list[str]:
    """Check the weights a training is to start from; returns the names of the net's layers that they do not have.

    Raises FerError if they are empty, cut short or not finite, if a layer of the same name has another shape, or if no
    layer matches.
    """
    layers = {layer.name: layer for layer in read_weights(path).layer if layer.blobs}
    matching = [name for name in shapes if name in layers]
    if not matching:
        raise FerError(
            f"{path}: no layer of it has the name of one of the net's, so nothing would be loaded\n"
            f"its layers: {', '.join(layers)}; the net's: {', '.join(shapes)}"
        )
    for name in matching:
        blobs, expected = layers[name].blobs, shapes[name]
        found = [blob_shape(blob) for blob in blobs]
        if len(found) != len(expected) or not all(map(_fits, blobs, expected)):
            raise FerError(
                f"{path}: layer {name!r}: shape mismatch: {', '.join(map(shape_text, found))} in the file, "
                f"{', '.join(map(shape_text, expected))} in the net; to learn it from scratch rename the layer"
            )
        for number, (blob, shape) in enumerate(zip(blobs, expected, strict=True)):
            _check_blob(f"{path}: layer {name!r}, blob {number}", blob, shape)
    return [name for name in shapes if name not in layers]


class SnapshotKeeper:
    """Takes an engine's snapshots into the run: verified, hashed, under their final names, listed in run.json."""

    def __init__(self, run: Run, shapes: Shapes, solver_type: str):
        self.run = run
        self.shapes = shapes
        self.solver_type = solver_type

    def adopt(self, iteration: int) -> Snapshot | None:
        """Verify the pair of `iteration` and make it one of the run's; None if the run has it already.

        Raises SnapshotFault, the faulty pair removed.
        """
        weights = self.run.unverified_dir / self.run.weights_file(iteration).name
        state = self.run.unverified_dir / self.run.state_file(iteration).name
        extra = self.run.unverified_dir / self.run.extra_file(iteration).name
        ema = self.run.unverified_dir / self.run.average_file((iteration,)).name
        try:
            if any(known.iteration == iteration for known in self.run.snapshots()):
                return None
            net = verify_weights(weights, self.shapes)
            solver_state = verify_state(state, iteration, net, self.solver_type)
            if extra.exists():
                verify_extra(extra, iteration)
            if self.run.record.ema:
                verify_weights(ema, self.shapes)
            return self._install(iteration, weights, solver_state, extra if extra.exists() else None)
        finally:
            for path in (weights, state, extra, ema):
                path.unlink(missing_ok=True)

    def _install(
        self, iteration: int, weights: Path, solver_state: caffe_pb2.SolverState, extra: Path | None
    ) -> Snapshot:
        """Give the files their names; they count from the moment that run.json lists them.

        Until then the unverified pair stays too, so that wherever we are killed one of the two can be taken in.
        """
        final_weights, final_state = self.run.weights_file(iteration), self.run.state_file(iteration)
        solver_state.learned_net = str(final_weights.relative_to(self.run.dir))
        _give_name(weights, final_weights)
        write_bytes(final_state, solver_state.SerializeToString())
        named = {"weights": final_weights, "state": final_state}
        if extra is not None:
            named["extra"] = self.run.extra_file(iteration)
            _give_name(extra, named["extra"])
        averages = dict(self.run.record.averages)
        if self.run.record.ema:
            final = self.run.average_file((iteration,))
            _give_name(weights.with_name(final.name), final)
            ema = Average((iteration,), self.run.hashed(final))
            averages[ema.name] = ema
        sync(final_weights.parent)
        files = SnapshotFiles(**{kind: self.run.hashed(path) for kind, path in named.items()})
        known = {**self.run.record.snapshots, iteration: files}
        reached = max(iteration, self.run.record.iteration)
        self.run.update(snapshots=known, averages=averages, iteration=reached)
        return Snapshot(iteration, final_weights, final_state, named.get("extra"))

    def drop(self, iteration: int) -> None:
        """Remove a snapshot that nobody needs: from run.json first."""
        snapshot = next(known for known in self.run.snapshots() if known.iteration == iteration)
        self._unlist(iteration)
        for path in (*snapshot.files, self.run.average_file((iteration,))):
            path.unlink(missing_ok=True)

    def adopt_average(self, averaged: Sequence[int], batches: int) -> Snapshot:
        """Verify the mean of these iterations' snapshots, give it its name, and list it in run.json.

        Raises SnapshotFault, the faulty file removed.
        """
        final = self.run.average_file(averaged)
        weights = self.run.unverified_dir / final.name
        try:
            verify_weights(weights, self.shapes)
            _give_name(weights, final)
        finally:
            weights.unlink(missing_ok=True)
        snapshot = Snapshot(averaged[-1], final, None, averaged=tuple(averaged))
        entry = Average(tuple(averaged), self.run.hashed(final), batches)
        self.run.update(averages={**self.run.record.averages, snapshot.name: entry})
        return snapshot

    def adopt_leftovers(self, warn: Callable[[str], None]) -> None:
        """Take in what a killed training left whole; remove the rest."""
        prefix, suffix = f"{self.run.net_name}_iter_", ".solverstate"
        for state in sorted(self.run.unverified_dir.glob(f"*{suffix}")):
            number = state.name.removeprefix(prefix).removesuffix(suffix)
            if number.isdecimal():
                try:
                    self.adopt(int(number))
                except SnapshotFault as fault:
                    warn(f"left out: {fault}")
        self.remove_leftovers()

    def remove_leftovers(self) -> None:
        """Remove what is unverified, and what a killed process was writing beside a final name."""
        unverified = self.run.unverified_dir
        for kind in ("iter", "ema", "average"):
            for leftover in (*unverified.glob(f"*_{kind}_*"), *unverified.parent.glob(f".*_{kind}_*")):
                leftover.unlink()

    def newest_intact(self, warn: Callable[[str], None]) -> Snapshot:
        """The newest pair whose files are as run.json has them; newer ones that are not leave run.json.

        Raises FerError if there is none.
        """
        for snapshot in reversed(self.run.snapshots()):
            fault = self._fault(snapshot)
            if fault is None:
                return snapshot
            warn(f"snapshot of iteration {snapshot.iteration} left out: {fault}")
            self._unlist(snapshot.iteration)
        raise FerError(f"{self.run.dir} has no intact snapshot to go on from; start anew with fer train --net ...")

    def _unlist(self, iteration: int) -> None:
        record, ema = self.run.record, average_name((iteration,))
        self.run.update(
            snapshots={n: files for n, files in record.snapshots.items() if n != iteration},
            averages={name: files for name, files in record.averages.items() if name != ema},
        )

    def _fault(self, snapshot: Snapshot) -> str | None:
        if snapshot.state is None:
            return "its .solverstate is missing"
        files = self.run.record.snapshots[snapshot.iteration]
        for known, path in zip((files.weights, files.state, files.extra), snapshot.files, strict=False):
            if not path.is_file():
                return f"{path} is missing"
            if known and file_hash(path) != known.sha256:
                return f"{path} changed since it was verified"
        return self._fault_of_ema(snapshot.iteration) if self.run.record.ema else None

    def _fault_of_ema(self, iteration: int) -> str | None:
        """Training goes on with the exponential average that lies beside a snapshot."""
        path, entry = self.run.average_file((iteration,)), self.run.record.averages.get(average_name((iteration,)))
        if entry is None or not path.is_file():
            return f"{path} is missing"
        return f"{path} changed since it was verified" if file_hash(path) != entry.weights.sha256 else None


def _give_name(path: Path, name: Path) -> None:
    """Let a file be found under another name too, durably."""
    name.unlink(missing_ok=True)
    try:
        name.hardlink_to(path)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, name)
    sync(name)

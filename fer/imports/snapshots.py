"""The snapshots of a training made elsewhere, in any of Caffe's formats, as a run keeps them: verified."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from google.protobuf.message import DecodeError

from fer.engines.core.rates import step_at
from fer.engines.core.weights import SolverState, state_from_hdf5
from fer.errors import FerError
from fer.formats.blobs import blobs_by_layer, from_blob, is_legacy, same_shape, shape_text, to_blob
from fer.formats.hdf5 import MAGIC, read_hdf5, read_hdf5_weights
from fer.formats.prototxt import read_weights
from fer.imports.given import GivenFile
from fer.imports.heads import Heads
from fer.imports.parts import Parts, base_name, content, nearest_to, number_in, steps
from fer.runs.record import HashedFile, SnapshotFiles
from fer.runs.snapshots import Shapes, SnapshotFault, learnable_blobs, verify_state, verify_weights
from fer.schema import caffe_pb2
from fer.system.files import write_bytes
from fer.system.hashes import file_hash

Say = Callable[[str], None]
_MOST_LISTED = 4


@dataclass(frozen=True)
class Pair:
    """The weights after so many iterations (0: unknown), and the solver's state where it is there."""

    iteration: int
    weights: GivenFile
    state: GivenFile | None


@dataclass(frozen=True)
class Target:
    """What snapshots are made fit for.

    layers  of the net that is trained, as a .caffemodel lists them; `shapes` of their parameters
    solver  None where it is not known, and states are of no use
    folder  of the run that is being made; `stem` is what its snapshots' names begin with: "snapshots/lenet"
    """

    layers: Sequence[caffe_pb2.LayerParameter]
    shapes: Shapes
    heads: Heads
    solver: caffe_pb2.SolverParameter | None
    folder: Path
    stem: str


def find_pairs(parts: Parts, prefix: str, leave_out: Say) -> list[Pair]:
    """The snapshots by rising iteration; `prefix` is the solver's snapshot_prefix.

    States that are damaged, or whose weights are not there, are left out with a word. Raises FerError where two files
    are of one iteration, or none says of which it is and there are several.
    """
    states = _readable_states(parts.states, leave_out)
    found: dict[int, list[Pair]] = {}
    unnumbered: list[GivenFile] = []
    used: set[GivenFile] = set()
    for weights in _without_copies(parts):
        state = _state_of(weights, states)
        number = states[state].iteration if state else number_in(weights.base)
        if number is None:
            unnumbered.append(weights)
        else:
            found.setdefault(number, []).append(Pair(number, weights, state))
            used.update([state] if state else [])
    for state in states.keys() - used:
        leave_out(f"{state.name}: the weights of iteration {states[state].iteration:,} are not there")
    if unnumbered and not found:
        return [Pair(0, _only_file(unnumbered, "whose names do not say of which iteration"), None)]
    for weights in unnumbered:
        leave_out(f"{weights.name}: its name does not say of which iteration it is")
    return [_only(pairs, prefix, parts.home) for _, pairs in sorted(found.items())]


def _readable_states(files: Sequence[GivenFile], leave_out: Say) -> dict[GivenFile, SolverState]:
    states = {}
    for file in files:
        try:
            with file.told():
                states[file] = _read_state(file)
        except FerError as fault:
            leave_out(str(fault))
    return states


def _without_copies(parts: Parts) -> list[GivenFile]:
    """The weights, of equal ones those whose names tell an iteration, and of these the nearest."""
    chosen: dict[tuple[str, int | None], GivenFile] = {}
    for file in sorted(parts.weights, key=lambda file: steps(parts.home, file.folder)):
        chosen.setdefault((content(file.path), number_in(file.base)), file)
    told = {mark for mark, number in chosen if number is not None}
    return [file for (mark, number), file in chosen.items() if number is not None or mark not in told]


def _state_of(weights: GivenFile, states: Mapping[GivenFile, SolverState]) -> GivenFile | None:
    """The state that names these weights, or is called and numbered as they are; of several the nearest."""
    number = number_in(weights.base)

    def fits(file: GivenFile, state: SolverState) -> bool:
        named = base_name(state.learned_net) == weights.base
        return named or (state.iteration == number and _alike(file.base, weights.base))

    fitting = [file for file, state in states.items() if fits(file, state)]
    return min(fitting, key=lambda file: steps(weights.folder, file.folder), default=None)


def _alike(state: str, weights: str) -> bool:
    """Whether a state and weights have one name but for their endings."""
    return state.removesuffix(".h5").removesuffix(".solverstate") == weights.removesuffix(".h5").removesuffix(
        ".caffemodel"
    )


def _only(pairs: list[Pair], prefix: str, home: PurePosixPath) -> Pair:
    """The one of an iteration; of several the one that the solver's prefix names, or that lies nearest to it."""
    stem = PurePosixPath(prefix).name
    pairs = [pair for pair in pairs if stem and pair.weights.base.startswith(f"{stem}_iter_")] or pairs
    near = nearest_to(home, [pair.weights for pair in pairs])
    weights = _only_file(near, f"of iteration {pairs[0].iteration:,}")
    return next(pair for pair in pairs if pair.weights is weights)


def _only_file(files: Sequence[GivenFile], what: str) -> GivenFile:
    if len(files) > 1:
        listed = ", ".join(file.name for file in files[:_MOST_LISTED]) + ", ..." * (len(files) > _MOST_LISTED)
        raise FerError(f"{len(files)} weights {what}: {listed}\ngive the files of one training, not the whole folder")
    return files[0]


def take_snapshots(pairs: Sequence[Pair], target: Target, leave_out: Say) -> dict[int, SnapshotFiles]:
    """Write the snapshots into the run's folder, verified, and return what run.json says of them.

    One that is damaged or of another net is left out with a word. Raises FerError where that leaves none.
    """
    taken: dict[int, SnapshotFiles] = {}
    faults = []
    for pair in pairs:
        weights = target.folder / f"{target.stem}_iter_{pair.iteration}.caffemodel"
        try:
            read = _take_weights(pair.weights, weights, target)
        except FerError as fault:
            weights.unlink(missing_ok=True)
            faults.append(str(fault))
            continue
        state = None
        if pair.state and target.solver:
            try:
                state = _take_state(pair, weights, read, target)
            except FerError as fault:
                leave_out(str(fault))
        taken[pair.iteration] = SnapshotFiles(_hashed(target, weights), _hashed(target, state) if state else None)
    if not taken:
        raise FerError(
            f"{faults[0]}\nso no weights fit the net: give those of this training, or choose its own net with --net"
        )
    for text in faults:
        leave_out(text)
    return taken


def _hashed(target: Target, path: Path) -> HashedFile:
    return HashedFile(file_hash(path), str(path.relative_to(target.folder)))


# ---- weights


def blobs_of(file: GivenFile) -> dict[str, list[np.ndarray]]:
    """The parameters in a file of weights by layer, in the shapes that they are stored in. Raises FerError."""
    if _is_hdf5(file.path):
        with file.told():
            stored = read_hdf5_weights(file.path)
        return {name: [blobs[place] for place in sorted(blobs)] for name, blobs in stored.items()}
    return blobs_by_layer(_read_weights(file), file.name)


def _read_weights(file: GivenFile) -> caffe_pb2.NetParameter:
    with file.told():
        return read_weights(file.path)


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def _take_weights(file: GivenFile, path: Path, target: Target) -> caffe_pb2.NetParameter:
    """Write weights as they are where they are in today's format, else in that. Raises FerError, SnapshotFault."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not target.heads.are_moved and not _is_hdf5(file.path) and _is_of_today(_read_weights(file), file.path):
        write_bytes(path, file.path.read_bytes())
    else:
        write_bytes(path, _rewritten(file, target).SerializeToString(deterministic=True))
    try:
        return verify_weights(path, target.shapes)
    except SnapshotFault as fault:
        raise SnapshotFault(str(fault).replace(str(path), file.name)) from None


def _is_of_today(weights: caffe_pb2.NetParameter, path: Path) -> bool:
    """Whether real Caffe and OpenCV, as they are today, read a file without upgrading it."""
    stored = caffe_pb2.NetParameter.FromString(path.read_bytes())
    blobs = [blob for layer in weights.layer for blob in layer.blobs]
    return not stored.layers and all(len(blob.data) and not is_legacy(blob) for blob in blobs)


def _rewritten(file: GivenFile, target: Target) -> caffe_pb2.NetParameter:
    """The weights in the net's own shapes, the classes in the data's order."""
    stored = blobs_of(file)
    made, shared = caffe_pb2.NetParameter(), dict[str, np.ndarray]()
    for layer in target.layers:
        shapes = target.shapes.get(layer.name, [])
        copy = made.layer.add()
        copy.CopyFrom(layer)
        del copy.blobs[:]
        found = stored.get(layer.name, [])
        if len(found) > len(shapes):
            raise SnapshotFault(f"{file.name}: layer {layer.name!r} has {len(found)} blobs, the net {len(shapes)}")
        for place, shape in enumerate(shapes):
            name = layer.param[place].name if place < len(layer.param) else ""
            if place < len(found):
                blob = _fitted(found[place], shape, f"{file.name}: layer {layer.name!r}, blob {place}")
                blob = target.heads.moved(layer.name, place, blob)
            elif name in shared:  # HDF5 keeps a shared parameter with its owner only
                blob = shared[name]
            else:
                break
            if name:
                shared[name] = blob
            copy.blobs.append(to_blob(blob))
    return made


def _fitted(blob: np.ndarray, shape: Sequence[int], where: str) -> np.ndarray:
    if not same_shape(blob.shape, shape, legacy=False) and not same_shape(blob.shape, shape, legacy=True):
        raise SnapshotFault(f"{where} has shape {shape_text(blob.shape)}, where the net has {shape_text(shape)}")
    return blob.reshape(tuple(shape))


# ---- states


def _read_state(file: GivenFile) -> SolverState:
    """A solver's state; one of before current_step was kept there has 0. Raises FerError."""
    if _is_hdf5(file.path):
        return read_hdf5(file.path, state_from_hdf5)
    proto = caffe_pb2.SolverState()
    try:
        proto.ParseFromString(file.path.read_bytes())
    except DecodeError as error:
        raise FerError(f"{file.name} is cut short or is no .solverstate") from error
    if not proto.HasField("iter") or proto.iter < 0:
        raise FerError(f"{file.name} is cut short: its iteration is missing")
    learned = proto.learned_net if isinstance(proto.learned_net, str) else ""
    history = [from_blob(blob, f"{file.name}: history {number}") for number, blob in enumerate(proto.history)]
    step = proto.current_step if proto.HasField("current_step") else -1
    return SolverState(proto.iter, learned, step, history, any(map(is_legacy, proto.history)))


def _take_state(pair: Pair, weights: Path, read: caffe_pb2.NetParameter, target: Target) -> Path:
    """Write a state that names the run's weights, in their shapes and the data's order of classes."""
    assert pair.state is not None and target.solver is not None
    state = _read_state(pair.state)
    made = caffe_pb2.SolverState(iter=state.iteration, learned_net=str(weights.relative_to(target.folder)))
    made.current_step = state.current_step
    if state.current_step < 0:
        made.current_step = step_at(target.solver, state.iteration - 1)
    owned = [(layer, place) for layer, place, _ in learnable_blobs(read) if layer in target.shapes]
    for number, history in enumerate(state.history):
        layer, place = owned[number % len(owned)]
        shape = target.shapes[layer][place]
        blob = _fitted(history, shape, f"{pair.state.name}: history {number}")
        made.history.append(to_blob(target.heads.moved(layer, place, blob)))
    path = weights.with_suffix(".solverstate")
    write_bytes(path, made.SerializeToString())
    try:
        verify_state(path, state.iteration, read, target.solver.type)
    except SnapshotFault as fault:
        path.unlink()
        raise SnapshotFault(str(fault).replace(str(path), pair.state.name)) from None
    return path

"""The run directory's own copies of solver and net: the user's, with paths, seed and mode set for one run.

Engines run with the run directory as their current folder, so every path in the copies is absolute or within it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fer.errors import FerError
from fer.formats.database import VOTES
from fer.formats.prototxt import read_net, write_text
from fer.nets.files import FIELDS, with_paths
from fer.nets.lint import states_named
from fer.nets.states import State, taking_part
from fer.runs.run import NET, Run
from fer.schema import caffe_pb2
from fer.system.hashes import file_hash

_DATABASES = {"TRAIN": "train_lmdb", "TEST": "val_lmdb"}
_CUDNN = caffe_pb2.ConvolutionParameter.CUDNN  # the same number in every layer's enum
_OUR_NAMES = frozenset(f"{split}{kind}" for split in ("train", "val", "test") for kind in ("_lmdb", VOTES))
_MEAN = "mean.binaryproto"
_OURS = ("data_param", "transform_param")  # whose files a data directory has


def net_for_run(
    net: caffe_pb2.NetParameter, data_dir: str | Path, states: Sequence[State] = ()
) -> caffe_pb2.NetParameter:
    """The net with its data taken from a data directory; `states` are those that the solver puts it in.

    A Data layer of the TRAIN phase reads its train_lmdb, one of the TEST phase its val_lmdb (whatever backend it
    names), or where it reads votes train_votes_lmdb and val_votes_lmdb, and mean_file is its mean.binaryproto.
    A user's own database or mean that exists and is not called as ours (train_lmdb, val_lmdb, test_lmdb,
    mean.binaryproto) is kept, its path made absolute; so are the files other layers name.
    """
    copy = caffe_pb2.NetParameter()
    copy.CopyFrom(net)
    folder = Path(data_dir).resolve()
    roles = layer_phases(net, states)
    for position, layer in enumerate(copy.layer):
        if layer.type == "Data":
            phases = roles.get(position, set())
            name = _DATABASES["TEST" if phases == {"TEST"} else "TRAIN"]
            if layer.data_param.source.endswith(VOTES):
                name = name.replace("_lmdb", VOTES)
            layer.data_param.source = _place(layer.data_param.source, _OUR_NAMES, folder / name)
            if layer.data_param.source == _text(folder / name):
                layer.data_param.backend = caffe_pb2.DataParameter.LMDB
        clear_cudnn(layer)
        if layer.transform_param.mean_file:
            layer.transform_param.mean_file = _place(layer.transform_param.mean_file, {_MEAN}, folder / _MEAN)
        for param, fields in FIELDS.items():
            for field in fields:
                if param not in _OURS and layer.HasField(param) and getattr(getattr(layer, param), field):
                    _make_absolute(getattr(layer, param), field)
    return copy


def clear_cudnn(layer: caffe_pb2.LayerParameter) -> None:
    """Let a layer ask for no cuDNN: a Caffe built with it takes it anyway, and another one ends."""
    for given, message in layer.ListFields():
        if given.message_type and "engine" in given.message_type.fields_by_name and message.engine == _CUDNN:
            message.ClearField("engine")


def solver_for_run(
    solver: caffe_pb2.SolverParameter, *, snapshot_prefix: str, seed: int | None = None, gpu: int | None = None
) -> caffe_pb2.SolverParameter:
    """The solver with the run's net file, snapshot prefix, seed (its own where None) and mode; a last snapshot is
    always taken, so that a run shorter than its snapshot interval leaves one."""
    copy = caffe_pb2.SolverParameter()
    copy.CopyFrom(solver)
    for field in ("snapshot_after_train", "snapshot_format", "device_id", "weights"):
        copy.ClearField(field)
    name_net(copy)
    copy.snapshot_prefix = snapshot_prefix
    copy.solver_mode = caffe_pb2.SolverParameter.CPU if gpu is None else caffe_pb2.SolverParameter.GPU
    if gpu is not None:
        copy.device_id = gpu
    if seed is not None:
        copy.random_seed = seed
    return copy


def name_net(solver: caffe_pb2.SolverParameter) -> None:
    """Let a solver name the run's own net, and no other."""
    for field in ("net_param", "train_net", "train_net_param", "test_net", "test_net_param"):
        solver.ClearField(field)
    solver.net = NET


def settle_paths(run: Run) -> None:
    """Write the paths as they are now into the run's net and its record: its engine reads them there."""
    net = read_net(run.net)
    moved = with_paths(net, run.moved)
    hashes = run.record.prototxt_sha256
    if moved != net:
        write_text(run.net, moved)
        hashes = {**hashes, run.net.name: file_hash(run.net)}
    run.update(data=run.record.data, dir=str(run.dir.resolve()), prototxt_sha256=hashes)


def layer_phases(net: caffe_pb2.NetParameter, states: Sequence[State] = ()) -> dict[int, set[str]]:
    """The phases in which each layer (by position) takes part in these states; of one that takes part in none of them,
    those over all stages that the net's rules name."""
    found = [_phases(net, some) for some in (states_named(net), states)]
    return found[0] | found[1]


def _phases(net: caffe_pb2.NetParameter, states: Sequence[State]) -> dict[int, set[str]]:
    phases: dict[int, set[str]] = {}
    for state in states:
        for position in taking_part(net, state):
            phases.setdefault(position, set()).add(state.phase)
    return phases


def _place(path: str, our_names: frozenset[str] | set[str], ours: Path) -> str:
    theirs = Path(path)
    return _text(theirs.resolve() if theirs.exists() and theirs.name not in our_names else ours)


def _make_absolute(message: object, field: str) -> None:
    given = getattr(message, field)
    # A root_folder is put in front of file names as it is, so its last slash counts.
    setattr(message, field, _text(Path(given).resolve()) + ("/" if given.endswith("/") else ""))


def _text(path: Path) -> str:
    """A path as a prototxt can hold it."""
    try:
        path.as_posix().encode()
    except UnicodeEncodeError:
        raise FerError(f"{path}: a folder whose name is no UTF-8 cannot stand in a prototxt; rename it") from None
    return str(path)

"""Which of the files at hand are the parts of one training, and what each was taken for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from fer.errors import FerError
from fer.formats.prototxt import read_solver
from fer.imports.given import Given, GivenFile
from fer.imports.recognise import Kind, kind_of
from fer.schema import caffe_pb2
from fer.system.hashes import file_hash

_MOST_LISTED = 8
_NUMBER = re.compile(r"_iter_(\d+)|(\d+)(?=\.(?:caffemodel|solverstate)(?:\.h5)?$)")


@dataclass(frozen=True)
class Options:
    """What the command line says of a training's parts, in the place of what is found; None where it says nothing."""

    net: str | None = None
    solver: str | None = None
    log: str | None = None
    mean: str | None = None
    labels: str | None = None


@dataclass
class Parts:
    """The parts of one training; None or empty where there is none.

    `nets` are one that trains, or two of old Caffe, one for training and one for the test. `means` and `labels` are all
    that were found, of which others choose. `said` tells what was taken for what, `left` what was left out, and why.
    """

    nets: list[GivenFile] = field(default_factory=list)
    deploy: GivenFile | None = None
    solver: GivenFile | None = None
    log: GivenFile | None = None
    means: list[GivenFile] = field(default_factory=list)
    labels: list[GivenFile] = field(default_factory=list)
    info: GivenFile | None = None
    weights: list[GivenFile] = field(default_factory=list)
    states: list[GivenFile] = field(default_factory=list)
    said: list[tuple[str, str]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def took(self, kind: Kind, file: GivenFile) -> None:
        self.said.append((kind.value, file.name))


def find_parts(given: Given, options: Options, classes: Sequence[str]) -> Parts:
    """The parts of the training among the files. Raises FerError for one that is missing, with what was looked for, and
    with the choices where there are several."""
    found: dict[Kind, list[GivenFile]] = {kind: [] for kind in Kind}
    parts, seen = Parts(), set[tuple[Kind, str]]()
    for file in given.files:
        kind = kind_of(file.path, file.base, classes)
        if kind is None:
            parts.left.append(file.name)
        elif (mark := (kind, _content(file.path))) not in seen:
            seen.add(mark)
            found[kind].append(file)
    _choose_solver_and_nets(parts, found, options, classes)
    parts.deploy = parts.deploy or _deploy(found[Kind.DEPLOY], parts)
    parts.log = _one(found[Kind.LOG], options.log, Kind.LOG, "--log")
    parts.info = next(iter(found[Kind.INFO]), None)
    parts.means, parts.labels = found[Kind.MEAN], found[Kind.LABELS]
    parts.weights, parts.states = found[Kind.WEIGHTS], found[Kind.STATE]
    if not parts.nets and parts.deploy is None:
        raise FerError(
            f"no net among {_count(given)}: looked for a train_val.prototxt (layers, one of them a data layer) or a "
            "deploy.prototxt\ngive its path too, or --net FILE"
        )
    if not parts.weights:
        raise FerError(
            f"no weights among {_count(given)}: looked for a .caffemodel, binary or HDF5\n"
            "give the path of one too, as snapshot_iter_1000.caffemodel"
        )
    single = ((Kind.SOLVER, parts.solver), (Kind.DEPLOY, parts.deploy), (Kind.LOG, parts.log))
    taken = [(Kind.NET, net) for net in parts.nets] + [(kind, file) for kind, file in single if file]
    for kind, file in taken:
        parts.took(kind, file)
    return parts


def _content(path: Path) -> str:
    """What two copies of a file have in common; of a large one, that is nobody's copy by chance, its place."""
    if path.stat().st_size > 1 << 26:
        return str(path.resolve())
    return file_hash(path)


def _count(given: Given) -> str:
    return f"{len(given.files):,} file{'s' * (len(given.files) != 1)}"


def _choose_solver_and_nets(
    parts: Parts, found: dict[Kind, list[GivenFile]], options: Options, classes: Sequence[str]
) -> None:
    if options.net is not None:
        file = _named(options.net, [*found[Kind.NET], *found[Kind.DEPLOY]], "--net")
        if kind_of(file.path, file.base, classes) is Kind.DEPLOY:
            parts.deploy = file
            return
        parts.nets = [file]
    solvers = found[Kind.SOLVER]
    if options.solver is None and parts.nets and len(solvers) > 1:
        solvers = [each for each in solvers if parts.nets[0].base in _nets_named(each)] or solvers
    parts.solver = _one(solvers, options.solver, Kind.SOLVER, "--solver")
    if parts.nets:
        return
    named = _nets_named(parts.solver) if parts.solver else []
    parts.nets = [file for name in named for file in found[Kind.NET] if file.base == name][: len(named)]
    if not parts.nets and (only := _one(found[Kind.NET], None, Kind.NET, "--net")):
        parts.nets = [only]


def _nets_named(solver: GivenFile) -> list[str]:
    """The names of the nets that a solver speaks of: one, or old Caffe's for training and for the first test."""
    read: caffe_pb2.SolverParameter = read_solver(solver.path)
    paths = [read.net] if read.net else [read.train_net, *read.test_net[:1]]
    return [PurePosixPath(path.replace("\\", "/")).name for path in paths if path]


def _deploy(found: list[GivenFile], parts: Parts) -> GivenFile | None:
    """The net for use; one of several is asked for only where no net for training says the same."""
    if len(found) > 1 and (called := [file for file in found if file.base.lower().startswith("deploy")]):
        found = called
    if len(found) > 1 and parts.nets:
        near = [file for file in found if file.path.parent == parts.nets[0].path.parent]
        if len(near) != 1:
            parts.left += [file.name for file in found]
            return None
        found = near
    return _one(found, None, Kind.DEPLOY, "--net")


def _one(found: list[GivenFile], given: str | None, kind: Kind, option: str) -> GivenFile | None:
    """The file that was asked for, or the only one. Raises FerError with the choices where there are several."""
    if given is not None:
        return _named(given, found, option)
    if len(found) > 1:
        raise several(kind, found, option)
    return found[0] if found else None


def several(kind: Kind, found: Sequence[GivenFile], option: str) -> FerError:
    """That one of several files must be chosen."""
    listed = ", ".join(file.name for file in found[:_MOST_LISTED]) + ", ..." * (len(found) > _MOST_LISTED)
    plural = kind.value if kind in (Kind.WEIGHTS, Kind.LABELS) else f"{kind.value}s"
    return FerError(f"{len(found)} {plural}: {listed}\nchoose one of them with {option}")


def _named(given: str, found: Sequence[GivenFile], option: str) -> GivenFile:
    """The file that an option names: one at that path, or one of those found, by the end of its name."""
    if Path(given).is_file():
        return GivenFile(Path(given), given)
    wanted = PurePosixPath(given).parts
    matching = [file for file in found if PurePosixPath(file.name).parts[-len(wanted) :] == wanted]
    if len(matching) == 1:
        return matching[0]
    listed = f"found: {', '.join(file.name for file in found[:_MOST_LISTED])}" if found else "found none of that kind"
    raise FerError(f"{option} {given}: {'several files of that name' if matching else 'no such file'}\n{listed}")


def number_in(name: str) -> int | None:
    """The iteration that a snapshot's name says: 1000 of lenet_iter_1000.caffemodel."""
    found = _NUMBER.search(PurePosixPath(name).name)
    return int(found[1] or found[2]) if found else None

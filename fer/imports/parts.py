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
from fer.system.plural import counted

_MOST_LISTED = 8
_DESCRIBING = (Kind.SOLVER, Kind.NET, Kind.DEPLOY)
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

    `nets` are one that trains, or two of old Caffe, one for training and one for the test. `logs`, `means` and `labels`
    are all that were found, of which others choose; `home` is the folder of solver or net, which of two the nearer
    is. `said` tells what was taken for what, `left` what was not.
    """

    nets: list[GivenFile] = field(default_factory=list)
    deploy: GivenFile | None = None
    solver: GivenFile | None = None
    logs: list[GivenFile] = field(default_factory=list)
    means: list[GivenFile] = field(default_factory=list)
    labels: list[GivenFile] = field(default_factory=list)
    info: GivenFile | None = None
    weights: list[GivenFile] = field(default_factory=list)
    states: list[GivenFile] = field(default_factory=list)
    said: list[tuple[str, str]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    home: PurePosixPath = field(default_factory=PurePosixPath)

    def leave_nets(self) -> None:
        """Do without the nets for training: the deploy net is all that is used."""
        self.said = [(kind, name) for kind, name in self.said if kind != Kind.NET.value]
        self.nets = []

    def took(self, kind: Kind, file: GivenFile) -> None:
        self.said.append((kind.value, file.name))


def find_parts(given: Given, options: Options, classes: Sequence[str]) -> Parts:
    """The parts of the training among the files. Raises FerError for one that is missing, with what was looked for, and
    with the choices where there are several."""
    found: dict[Kind, list[GivenFile]] = {kind: [] for kind in Kind}
    parts = Parts()
    for file in given.files:
        with file.told():
            kind = kind_of(file.path, file.base, classes)
        if kind is None:
            parts.left.append(file.name)
        else:
            found[kind].append(file)
    found = _of_one_training(found, options, parts)
    _choose_solver_and_nets(parts, found, options, classes)
    parts.deploy = parts.deploy or _deploy(found[Kind.DEPLOY], parts)
    _check_whole(parts, found, given)
    parts.home = next(file for file in (parts.solver, *parts.nets, parts.deploy) if file).folder
    parts.logs = [_named(options.log, found[Kind.LOG], "--log")] if options.log else distinct(found[Kind.LOG])
    parts.info = min(found[Kind.INFO], key=lambda file: steps(parts.home, file.folder), default=None)
    parts.means, parts.labels = distinct(found[Kind.MEAN]), distinct(found[Kind.LABELS])
    parts.weights, parts.states = found[Kind.WEIGHTS], found[Kind.STATE]
    single = ((Kind.SOLVER, parts.solver), (Kind.DEPLOY, parts.deploy))
    for kind, file in [*((Kind.NET, net) for net in parts.nets), *((kind, file) for kind, file in single if file)]:
        parts.took(kind, file)
    used = {*parts.nets, parts.solver, parts.deploy}
    parts.left += [file.name for kind in _DESCRIBING for file in found[kind] if file not in used]
    return parts


def _check_whole(parts: Parts, found: dict[Kind, list[GivenFile]], given: Given) -> None:
    if not parts.nets and parts.deploy is None:
        raise FerError(
            f"no net among {_count(given)}: looked for a train_val.prototxt (layers, one of them a data layer) or a "
            "deploy.prototxt\ngive its path too, or --net FILE"
        )
    if not found[Kind.WEIGHTS]:
        raise FerError(
            f"no weights among {_count(given)}: looked for a .caffemodel, binary or HDF5\n"
            "give the path of one too, as snapshot_iter_1000.caffemodel"
        )


def distinct(files: Sequence[GivenFile]) -> list[GivenFile]:
    """Of copies of a file the first."""
    return list({content(file.path): file for file in reversed(files)}.values())[::-1]


def steps(one: PurePosixPath, other: PurePosixPath) -> int:
    """How many folders one goes up and down to come from one to the other."""
    common = sum(a == b for a, b in zip(one.parts, other.parts, strict=False))
    return len(one.parts) + len(other.parts) - 2 * common


def _of_one_training(found: dict[Kind, list[GivenFile]], options: Options, parts: Parts) -> dict[Kind, list[GivenFile]]:
    """The files without those of other trainings: what lies below the folder of another one's solver and net.

    Raises FerError where it is not asked for which of several is meant.
    """
    for kind in _DESCRIBING:
        folders = {file.folder for file in found[kind]}
        by_home: dict[PurePosixPath, set[str]] = {}
        for file in found[Kind.WEIGHTS]:
            if home := _home(file, folders):
                by_home.setdefault(home, set()).add(content(file.path))
        homes = [home for home, weights in by_home.items() if not any(weights < other for other in by_home.values())]
        homes = list({frozenset(by_home[home]): home for home in reversed(homes)}.values())[::-1]
        if homes:
            break
    else:
        return found
    if chosen := options.solver or options.net:
        named = _named(chosen, [file for kind in _DESCRIBING for file in found[kind]], "--solver or --net")
        homes = [home for home in [_home(named, folders)] if home]
        if not homes:
            return found
    if len(homes) > 1:
        listed = ", ".join(map(str, homes[:_MOST_LISTED])) + ", ..." * (len(homes) > _MOST_LISTED)
        raise FerError(f"{len(homes)} trainings: {listed}\ngive one of these alone, or choose with --solver or --net")
    others = folders - {homes[0], *homes[0].parents}
    foreign = {file for files in found.values() for file in files if _home(file, folders) in others}
    parts.left += sorted(file.name for file in foreign)
    return {kind: [file for file in files if file not in foreign] for kind, files in found.items()}


def _home(file: GivenFile, folders: set[PurePosixPath]) -> PurePosixPath | None:
    """The nearest of the folders that a file lies in or below."""
    return next((folder for folder in (file.folder, *file.folder.parents) if folder in folders), None)


def content(path: Path) -> str:
    """What two copies of a file have in common; of a large one, that is nobody's copy by chance, its place."""
    if path.stat().st_size > 1 << 26:
        return str(path.resolve())
    return file_hash(path)


def _count(given: Given) -> str:
    return counted(len(given.files), "file")


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
        solvers = [each for each in solvers if parts.nets[0].base in map(base_name, _nets_named(each))] or solvers
    parts.solver = _one(solvers, options.solver, Kind.SOLVER, "--solver")
    if parts.nets:
        return
    parts.nets = _nets_of(parts.solver, found[Kind.NET]) if parts.solver else []
    if not parts.nets and (only := _one(found[Kind.NET], None, Kind.NET, "--net")):
        parts.nets = [only]


def _nets_of(solver: GivenFile, nets: list[GivenFile]) -> list[GivenFile]:
    """The nets that a solver names, of those given the nearest; also where they were not given, but are there."""
    chosen = []
    for path in _nets_named(solver):
        called = distinct(nearest_to(solver.folder, [file for file in nets if file.base == base_name(path)]))
        if file := _one(called, None, Kind.NET, "--net") or solver.beside(path):
            chosen.append(file)
    return chosen


def nearest_to(home: PurePosixPath, files: list[GivenFile]) -> list[GivenFile]:
    """Those of the files that lie nearest to a folder."""
    least = min((steps(home, file.folder) for file in files), default=0)
    return [file for file in files if steps(home, file.folder) == least]


def _nets_named(solver: GivenFile) -> list[str]:
    """The nets that a solver speaks of: one, or old Caffe's for training and for the first test."""
    with solver.told():
        read: caffe_pb2.SolverParameter = read_solver(solver.path, [])
    paths = [read.net] if read.net else [read.train_net, *read.test_net[:1]]
    return [path for path in paths if path]


def base_name(path: str) -> str:
    """A file's name, of a path as any system writes it."""
    return PurePosixPath(path.replace("\\", "/")).name


def _deploy(found: list[GivenFile], parts: Parts) -> GivenFile | None:
    """The net for use; one of several is asked for only where no net for training says the same."""
    if len(found) > 1 and (called := [file for file in found if file.base.lower().startswith("deploy")]):
        found = called
    if len(distinct(found)) > 1 and parts.nets:
        near = [file for file in found if file.folder == parts.nets[0].folder]
        if len(near) != 1:
            return None
        found = near
    return _one(found, None, Kind.DEPLOY, "--net")


def _one(found: list[GivenFile], given: str | None, kind: Kind, option: str) -> GivenFile | None:
    """The file that was asked for, or the only one. Raises FerError with the choices where there are several."""
    if given is not None:
        return _named(given, found, option)
    found = distinct(found)
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

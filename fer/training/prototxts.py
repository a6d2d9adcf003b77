"""A training's solver and net as the user wrote them, each read once."""

from dataclasses import dataclass
from pathlib import Path

from fer.errors import FerError
from fer.formats.prototxt import are_exchanged, read_net, read_solver, solver_net_path
from fer.schema import caffe_pb2


@dataclass(frozen=True)
class Prototxts:
    """What is in the two files; None where one cannot be read, as `faults` say, each with file and line."""

    solver_path: Path
    net_path: Path | None
    solver: caffe_pb2.SolverParameter | None
    net: caffe_pb2.NetParameter | None
    faults: tuple[str, ...] = ()


def read_prototxts(solver_path: str | Path, net_path: str | Path | None = None) -> Prototxts:
    """Read a solver and its net; `net_path` None: the net that the solver names."""
    faults: list[str] = []
    solver = net = None
    path = None if net_path is None else Path(net_path)
    try:
        solver = read_solver(solver_path)
        path = path or solver_net_path(solver, solver_path)
    except FerError as error:
        faults.append(str(error))
    try:
        net = None if path is None else read_net(path)
    except FerError as error:
        faults.append(str(error))
    if solver is None and net is None and path and are_exchanged(solver_path, path):
        faults = [f"{path} is a solver and {solver_path} a net: exchange --net and --solver"]
    return Prototxts(Path(solver_path), path, solver, net, tuple(faults))

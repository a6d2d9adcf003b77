"""Finding nets and solvers: the shipped ones by name, a user's own by path."""

from __future__ import annotations

import os
import re
from pathlib import Path

from fer.errors import FerError, nearest

TRAIN_VAL = "train_val.prototxt"
_RECOMMENDED = re.compile(r"^ +fer train .*--solver (\S+)", re.MULTILINE)


def _shipped_folder() -> Path:
    """`prototxt/` beside the package in a checkout, `fer/_prototxt` in an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "_prototxt"
    return inside if inside.is_dir() else package.parent / "prototxt"


NETS = _shipped_folder()


def net_names() -> list[str]:
    """Names of the shipped nets, sorted."""
    return sorted(path.parent.name for path in NETS.glob(f"*/{TRAIN_VAL}"))


def solver_names(train_val: Path) -> list[str]:
    """Names of the solvers beside a net: `s1` for solver_s1.prototxt, sorted."""
    return sorted(path.stem.removeprefix("solver_") for path in train_val.parent.glob("solver_*.prototxt"))


def find_net(name_or_path: str | Path) -> Path:
    """The train_val.prototxt of a shipped net's name, of a folder that holds one, or the file itself.

    Raises FerError with the valid names where there is none.
    """
    name = str(name_or_path)
    if name in net_names():
        return NETS / name / TRAIN_VAL
    path = Path(name)
    if path.is_dir() and (path / TRAIN_VAL).is_file():
        return path / TRAIN_VAL
    if path.is_file():
        return path
    raise FerError(
        f"no net called {name!r}{nearest(name, net_names())}\n"
        f"shipped nets: {', '.join(net_names())}; or give the path of a train_val.prototxt"
    )


def find_solver(net: str | Path, name_or_path: str | Path) -> Path:
    """The solver called `name_or_path` beside the net that find_net(net) finds, or the file itself.

    Raises FerError with the valid names where there is none.
    """
    name, train_val = str(name_or_path), find_net(net)
    if name in solver_names(train_val):
        return train_val.parent / f"solver_{name}.prototxt"
    if Path(name).is_file():
        return Path(name)
    names = solver_names(train_val)
    listed = f"solvers of {net}: {', '.join(names)}; or give" if names else f"{net} has no solvers beside it; give"
    raise FerError(f"no solver called {name!r}{nearest(name, names)}\n{listed} the path of a solver.prototxt")


def recommended_solver(net: str | Path) -> str:
    """The solver that the README beside a net trains it with first; without one the only solver beside it.

    Raises FerError where neither says it.
    """
    train_val = find_net(net)
    names, readme = solver_names(train_val), train_val.with_name("README.md")
    told = _RECOMMENDED.search(readme.read_text("utf-8", "replace")) if readme.is_file() else None
    if told and told[1] in names:
        return told[1]
    if len(names) == 1:
        return names[0]
    if not names and (only := train_val.with_name("solver.prototxt")).is_file():
        return str(only)
    listed = f"one of {', '.join(names)}, or " if names else ""
    raise FerError(f"no solver is recommended for {net}: name {listed}a solver.prototxt with --solver")


def net_label(train_val: str | Path) -> str:
    """What a run of this net and its snapshots are called: its folder's name for a train_val.prototxt, else its own."""
    path = Path(os.path.abspath(train_val))  # noqa: PTH100 -- resolve() would take the name behind a symlink
    return file_name(path.parent.name if path.name == TRAIN_VAL else path.stem)


def run_label(train_val: str | Path, solver: str | Path) -> str:
    """`lenet-s2` for prototxt/lenet/train_val.prototxt and solver_s2.prototxt."""
    return f"{net_label(train_val)}-{file_name(Path(solver).stem.removeprefix('solver_'))}"


def file_name(text: str) -> str:
    """`text` as a file may be called."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", text).strip(".") or "net"

"""What is known of a net before it is trained: sizes, solvers, the accuracy it has reached; and a copy of it."""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import dataclass
from pathlib import Path

from fer.errors import FerError
from fer.formats.prototxt import read_net
from fer.formats.prototxt_text import decode, encode
from fer.nets.deploy import derive_deploy, front_layer
from fer.nets.heads import with_classes
from fer.nets.shapes import UnknownShapeError, infer_shapes
from fer.nets.vote_loss import with_votes
from fer.nets.zoo import TRAIN_VAL, find_net, recommended_solver, solver_names
from fer.system.files import replacement

_FACE = (1, 48, 48)
_NET = re.compile(r"""^[ \t]*net\s*:\s*("[^"\n]*"|'[^'\n]*')""", re.MULTILINE)


@dataclass(frozen=True)
class Known:
    """The accuracy that a solver's training has reached, as the README's Results say: fractions, of the centre crop."""

    solver: str
    val: float
    test: float
    how: str


KNOWN = {
    "alexnet": Known("s3", 0.6383, 0.6442, "174 epochs"),
    "alexnetbn": Known("s1", 0.6718, 0.6776, "80 epochs, mean of 17 snapshots"),
    "googlenetbn": Known("s1", 0.7005, 0.7024, "100 epochs, mean of 5 snapshots"),
    "lenet": Known("s2", 0.5762, 0.5782, "22 epochs, mean of 5 snapshots"),
    "resnet18h": Known("s1", 0.6957, 0.7203, "100 epochs, mean of 12 snapshots"),
    "vgg13": Known("s1", 0.7013, 0.7200, "150 epochs, mean of 12 snapshots"),
    "vgg8": Known("s1", 0.6988, 0.7138, "120 epochs, mean of 12 snapshots"),
}


@dataclass(frozen=True)
class NetFacts:
    """A net and its solvers.

    recommended       the solver to begin with; None where nothing says it
    input             (channels, height, width) of what the net is given, after the crop
    parameters, multiply_adds  of one image's way through the net for use; None where a layer's sizes are not known
    """

    name: str
    title: str
    folder: Path
    solvers: tuple[str, ...]
    recommended: str | None
    input: tuple[int, int, int]
    parameters: int | None
    multiply_adds: int | None
    known: Known | None


def net_facts(name: str | Path) -> NetFacts:
    """The facts of a net, a shipped one's name or a path as `find_net` takes. Raises FerError."""
    train_val = find_net(name)
    net = read_net(train_val)
    crop = front_layer(net).transform_param.crop_size
    shape = (_FACE[0], crop or _FACE[1], crop or _FACE[2])
    try:
        recommended: str | None = recommended_solver(name)
    except FerError:
        recommended = None
    parameters = work = None
    with contextlib.suppress(UnknownShapeError):
        shapes = infer_shapes(derive_deploy(net, shape))
        parameters, work = shapes.param_count, sum(shapes.multiply_adds.values())
    readme = train_val.with_name("README.md")
    lines = decode(readme.read_bytes()).splitlines() if readme.is_file() else []
    return NetFacts(
        name=str(name),
        title=lines[0].lstrip("# ") if lines else net.name,
        folder=train_val.parent,
        solvers=tuple(solver_names(train_val)),
        recommended=recommended,
        input=shape,
        parameters=parameters,
        multiply_adds=work,
        known=KNOWN.get(str(name)),
    )


def first_comment(path: Path) -> str:
    """What a prototxt's first lines of comment say, as one line."""
    lines = decode(path.read_bytes()).splitlines()
    count = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return " ".join(line.lstrip("# ") for line in lines[:count])


def copy_net(name: str | Path, folder: Path, classes: int | None = None, *, votes: bool = False) -> list[Path]:
    """Copy a net, its solvers and its README to a new folder, to be changed there; returns the files.

    The net is called train_val.prototxt there, with `classes` outputs and `votes` for targets; the solvers name it.
    deploy.prototxt is left out, as each training derives it. Raises FerError where the folder is there already
    and not empty, or the net cannot be changed so.
    """
    net = find_net(name)
    source = net.parent
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FerError(f"{folder} is there already: choose another folder, or remove it")
    text = decode(net.read_bytes())
    if classes is not None:
        text = with_classes(text, read_net(net), classes)
    if votes:
        text = with_votes(text, read_net(net))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacement(folder) as copy:
        (copy / TRAIN_VAL).write_bytes(encode(text))
        for path in (*sorted(source.glob("solver*.prototxt")), source / "README.md"):
            if not path.is_file():
                continue
            text = decode(path.read_bytes())
            if path.name.startswith("solver"):
                text = _NET.sub(lambda _: f'net: "{folder / TRAIN_VAL}"', text)
            elif path.suffix == ".md":
                text = text.replace(f"--net {source.name} ", f"--net {folder} ")
            (copy / path.name).write_bytes(encode(text))
    return sorted(folder.iterdir())


def millions(count: int | None) -> str:
    """1,629,577 as "1.63 M"."""
    return "?" if count is None else f"{count / 1e6:.{max(0, 2 - int(math.log10(max(count, 1) / 1e6)))}f} M"

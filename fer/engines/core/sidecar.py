"""What Caffe's two snapshot files do not hold: random generators and data cursors, so that a resume is the same run.

Beside `X.solverstate` lies `X.fer.npz`, without pickles. Where it is missing (a snapshot of Caffe's own) the data
layers are put to where so many iterations would have brought them.
"""

import io
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from fer.engines.core.framework import Net, NetState
from fer.errors import FerError
from fer.system.arrays import DamagedArchive, read_arrays
from fer.system.files import write_bytes

GENERATORS = "generators"
_VERSION = 1
_HEADER = ("version", "iteration", "fingerprint", "seed")


def sidecar(state: str | Path) -> Path:
    """The file beside `X.solverstate` (or `X.solverstate.h5`): `X.fer.npz`."""
    path = Path(state)
    stem = path.name.removesuffix(".h5").removesuffix(".solverstate")
    return path.with_name(f"{stem}.fer.npz")


def generators_of(rank: int) -> str:
    """Under which name a train net's state has the generators of a rank."""
    return f"{GENERATORS} of rank {rank}" if rank else GENERATORS


def fingerprint(net: Net) -> int:
    """A checksum of the net's smaller parameters: tells another run's sidecar of the same iteration."""
    total = 0
    for learned in net.learnable:
        if math.prod(learned.shape) <= 2**16:
            total = zlib.crc32(net.blob(learned.owner, learned.index).tobytes(), total)
    return total


def write_sidecar(path: Path, iteration: int, seed: int, net: Net, states: Sequence[NetState]) -> None:
    """Write the states of the train net and of each test net (`Net.state()`), in that order."""
    arrays: dict[str, np.ndarray] = {
        "version": np.array(_VERSION),
        "iteration": np.array(iteration),
        "seed": np.array(seed),
        "fingerprint": np.array(fingerprint(net)),
    }
    for number, state in enumerate(states):
        for kind, entries in state.items():
            for name, value in entries.items():
                values = value if isinstance(value, dict) else {"": value}
                for key, item in values.items():
                    arrays["\n".join((str(number), kind, name, key))] = np.asarray(item)
    stream = io.BytesIO()
    np.savez(stream, **cast(Any, arrays))  # its types know of another keyword
    write_bytes(path, stream.getvalue())


def read_sidecar(path: Path, iteration: int, net: Net) -> list[NetState] | None:
    """The states that `write_sidecar` took, None where there is no sidecar or it is of other weights.

    Raises FerError for a damaged one.
    """
    if not path.exists():
        return None
    arrays = _read(path)
    header = [int(arrays.pop(name)) for name in _HEADER]
    if header[:3] != [_VERSION, iteration, fingerprint(net)]:
        return None
    states: dict[int, NetState] = {}
    for name, array in arrays.items():
        if name.count("\n") != 3 or not (number := name.partition("\n")[0]).isdecimal() or len(number) > 3:
            raise _damaged(path, f"{name!r} belongs to no net's state")
        _, kind, owner, key = name.split("\n")
        entries = states.setdefault(int(number), {}).setdefault(kind, {})
        if kind.startswith(GENERATORS):
            entries[owner] = array
        else:
            entries.setdefault(owner, {})[key] = array
    return [states.get(number, {}) for number in range(max(states, default=-1) + 1)]


def read_seed(path: Path) -> int | None:
    """The seed of the run that wrote a sidecar, None where there is none."""
    return int(_read(path)["seed"]) if path.exists() else None


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        arrays = read_arrays(path)
    except (DamagedArchive, FileNotFoundError) as error:
        raise _damaged(path, str(error)) from error
    arrays.pop("allow_pickle", None)  # until NumPy 2.2 savez took that word for one more array
    for name in _HEADER:
        if name not in arrays or arrays[name].shape or arrays[name].dtype.kind not in "iu":
            raise _damaged(path, f"its {name} is missing")
    return arrays


def _damaged(path: Path, reason: str) -> FerError:
    return FerError(f"{path} is damaged: {reason}\nremove it to go on from the .solverstate alone")

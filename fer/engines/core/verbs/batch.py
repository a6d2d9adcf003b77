"""`batch`: what the outputs of a net are after one forward pass, as its data layers give it."""

import io
from pathlib import Path

import numpy as np

from fer.engines.core.framework import Backend
from fer.formats.prototxt import read_net
from fer.nets.states import State
from fer.system.files import write_bytes


def batch(backend: Backend, model: Path, out: Path, *, state: State, seed: int = -1) -> None:
    """Write each output of the net, float32 by its name, to `out` (.npz); `seed` draws what is random (-1: any).

    Raises FerError for a net that cannot be built.
    """
    net = backend.net(read_net(model), state, path=model, seed=seed)
    _, values = net.evaluate()
    stream = io.BytesIO()
    arrays = {name: net.host(value) for (name, _), value in zip(net.outputs, values, strict=True)}
    np.savez(stream, **arrays)  # type: ignore[arg-type]  # its options have types of their own
    write_bytes(out, stream.getvalue(), parents=True)

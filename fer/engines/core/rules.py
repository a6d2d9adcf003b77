"""What Caffe demands of a solver's update rule, whoever computes it, and the history blobs that it keeps."""

from collections.abc import Sequence

import numpy as np

from fer.engines.core.framework import Learned
from fer.errors import FerError
from fer.formats.blobs import same_shape
from fer.formats.prototxt import SOLVER_TYPES, TWO_HISTORIES
from fer.schema import caffe_pb2


def check_rule(solver: caffe_pb2.SolverParameter) -> None:
    """Raises FerError for an update rule or a regularization that there is not, or numbers that it does not allow."""
    if solver.type not in SOLVER_TYPES:
        raise FerError(f"Unknown solver type: {solver.type} (known types: {', '.join(SOLVER_TYPES)})")
    if solver.regularization_type not in ("L1", "L2"):
        raise FerError(f"Unknown regularization type: {solver.regularization_type} (known: L1, L2)")
    if solver.iter_size < 1:
        raise FerError(f"iter_size is {solver.iter_size}; it must be 1 or more")
    if solver.type == "Adam" and not (0 <= solver.momentum < 1 and 0 <= solver.momentum2 < 1):
        raise FerError("Adam's momentum and momentum2 must lie in [0, 1)")
    if solver.type in ("AdaGrad", "RMSProp") and solver.momentum:
        raise FerError(f"Momentum cannot be used with {solver.type}.")
    if solver.type == "RMSProp" and not 0 <= solver.rms_decay < 1:
        raise FerError("RMSProp's rms_decay must lie in [0, 1)")


def keeps_history(solver: caffe_pb2.SolverParameter, learned: Learned, trained: bool) -> bool:
    """Whether Caffe's history of a parameter ever changes.

    That of one with lr_mult 0 does under the adaptive rules: there its decay alone counts as a gradient.
    """
    adaptive = solver.type not in ("SGD", "Nesterov")
    return trained or (adaptive and solver.weight_decay * learned.decay_mult != 0)


def fit_history(
    rows: Sequence[np.ndarray], learnable: Sequence[Learned], solver: caffe_pb2.SolverParameter, legacy: bool
) -> list[list[np.ndarray]]:
    """A solver state's history blobs [kind][parameter] in the parameters' shapes; `legacy` ones have four axes.

    Raises FerError where they are of another net or rule.
    """
    count, kinds = len(learnable), 1 + (solver.type in TWO_HISTORIES)
    if len(rows) != count * kinds:
        raise FerError(
            f"Incorrect length of history blobs: the state has {len(rows)}, "
            f"this net with {solver.type} keeps {count * kinds}"
        )
    fitted: list[np.ndarray] = []
    for number, row in enumerate(rows):
        learned = learnable[number % count]
        if not same_shape(row.shape, learned.shape, legacy=legacy):
            raise FerError(
                f"history {number} of the state has shape {row.shape}, where parameter {learned.index} of layer "
                f"'{learned.owner}' has {learned.shape}"
            )
        fitted.append(row.reshape(learned.shape))
    return [fitted[kind * count : (kind + 1) * count] for kind in range(kinds)]

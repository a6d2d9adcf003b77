"""A net's training on PyTorch: the step and the update rule, over all ranks."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fer.engines.core.log import Log
from fer.engines.pytorch.distributed import Ranks
from fer.engines.pytorch.ema import Ema
from fer.engines.pytorch.net import Net
from fer.engines.pytorch.step import Step
from fer.engines.pytorch.updates import Updater
from fer.schema import caffe_pb2


class Training:
    """See `fer.engines.core.framework.Training`. Every rank begins with the first one's parameters."""

    def __init__(self, net: Net, solver: caffe_pb2.SolverParameter, ranks: Ranks, log: Log, graphs: bool):
        self.net, self.ranks = net, ranks
        self.updater = Updater(net.learnable, solver)
        ranks.same_parameters(net)
        ranks.hold_gradients(self.updater.trained)
        self.step = Step(net, self.updater.trained, ranks, solver.iter_size, log, graphs)
        self.clear = self.step.clear
        self.run_pass = self.step.__call__
        self.average_gradients = ranks.average_gradients
        self.update = self.updater.apply
        self.history = self.updater.history
        self.load_history = self.updater.load_history

    def ema(self) -> Ema:
        """An average of the parameters, on this rank's device."""
        return Ema([learned.parameter for learned in self.net.learnable])

    def outputs(self) -> list[np.ndarray]:
        """The net's outputs of the last pass, averaged over the ranks."""
        return [self.net.host(value) for value in self.ranks.average(self.net.output_values())]

    def mean(self, losses: Sequence[Tensor]) -> float:
        """The mean of these losses, averaged over the ranks."""
        return self.ranks.average([torch.stack(list(losses)).mean()])[0].item()

"""What pycaffe and a user's own `caffe` executable share: builds differ, so a Caffe is asked what it can do.

It is asked by a training of one iteration (the wheel's BatchNorm does not train, and a user's own may be of any age).
"""

from abc import abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fer.engines.engine import NO_GPU, Demand, Say
from fer.engines.interpreter import WORKER, find_caffe
from fer.engines.process import EngineFailed, call
from fer.engines.process_engine import ProcessEngine
from fer.errors import FerError
from fer.system.files import scratch

if TYPE_CHECKING:
    from fer.nets.states import State
    from fer.schema import caffe_pb2

PROBE_SOLVER = """
base_lr: 0.01 lr_policy: "fixed" max_iter: 1 solver_mode: CPU random_seed: 1 snapshot_prefix: "probe" type: "{type}"
"""
_NET = """
net_param {
  layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
    shape { dim: 4 dim: 2 dim: 3 dim: 3 } shape { dim: 4 } data_filler { type: "gaussian" std: 1 }
    data_filler { type: "constant" } } }
  %s
  layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2
    weight_filler { type: "xavier" } } }
  layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
}
"""
_NORM = 'layer { name: "norm" type: "BatchNorm" bottom: "data" top: "data" }'
OTHER_CAFFE = (
    "build a Caffe (fer caffe build), or name one in FER_CAFFE_PYTHON (its Python) or FER_CAFFE (its executable)"
)


@dataclass(frozen=True)
class RealCaffe(ProcessEngine):
    """Real Caffe, all of whose verbs but `train` are the worker's. `own`: whether it is the user's, of any age."""

    name: str = "caffe"

    @property
    def title(self) -> str:
        return "Caffe"

    @property
    def _speaker(self) -> str:
        return "Caffe"

    @property
    @abstractmethod
    def program(self) -> str:
        """What trains, by its path."""

    @property
    def instead(self) -> str:
        return f"take --engine pytorch, or {OTHER_CAFFE}"

    def set_up(self, say: Say | None = None) -> Self:
        if self.command:
            return self
        found = find_caffe(say)
        return replace(self, command=(str(found.python), str(WORKER)), environment=found.environment)

    def describe(self, model: Path, state: "State", *, folder: Path | None = None) -> dict[str, Any]:
        self._check(model, folder or Path())
        return super().describe(model, state, folder=folder)

    def predict(self, deploy: Path, *args: Any, folder: Path | None = None, **options: Any) -> None:
        self._check(deploy, folder or Path())
        super().predict(deploy, *args, folder=folder, **options)

    def batch(self, model: Path, *args: Any, folder: Path | None = None, **options: Any) -> None:
        self._check(model, folder or Path())
        super().batch(model, *args, folder=folder, **options)

    def _check(self, model: Path, folder: Path) -> None:
        """A net is data that people send each other; nobody looks at what it makes Caffe import or write."""
        from fer.formats.prototxt import read_net  # here, as the command line goes without it
        from fer.nets.python_layers import check_allowed
        from fer.nets.written_files import check_written

        net = read_net(folder / model)
        check_written(net, folder / model, folder)
        if not self.python_layers:
            check_allowed(net, folder / model)

    def shortfall(self, demand: Demand) -> str | None:
        if reason := super().shortfall(demand):
            return reason
        if demand.stochastic is not None:
            return f"has STOCHASTIC pooling (layer {demand.stochastic!r}) on GPUs alone"
        if not (demand.statistics or (self.own and demand.solver_type != "SGD")):
            return None
        try:
            learnt = self._learns(demand)
        except EngineFailed as failure:
            return f"does not train with the solver type {demand.solver_type} ({failure.reason})"
        return None if learnt else f"does not train BatchNorm (layer {demand.statistics!r})"

    def trains_batch_norm(self) -> bool:
        """Whether a BatchNorm layer learns its batches' statistics, tried in one iteration."""
        try:
            return self._learns(Demand(frozenset({"BatchNorm"}), "norm", "SGD"))
        except EngineFailed:
            return False

    def _learns(self, demand: Demand) -> bool:
        """Whether one iteration brings a BatchNorm's statistics along, where there is one. Raises EngineFailed."""
        from fer.formats.blobs import from_blob  # here, as the command line goes without it

        norm = _NORM if demand.statistics else ""
        weights = self.probe(PROBE_SOLVER.format(type=demand.solver_type) + _NET % norm)
        # The third blob counts the batches that the mean and the variance are of.
        norms = [layer for layer in weights.layer if layer.name == "norm"]
        counts = [from_blob(blob, layer.name) for layer in norms for blob in layer.blobs[2:3]]
        return not demand.statistics or any(count.any() for count in counts)

    def probe(self, solver: str) -> "caffe_pb2.NetParameter":
        """The weights that a training of one iteration leaves. Raises EngineFailed."""
        from fer.formats.prototxt import read_weights  # here, as the command line goes without it

        with scratch("fer-caffe-") as folder:
            path = folder / "solver.prototxt"
            path.write_text(solver, encoding="utf-8")
            argv = self.train_command(Path(path.name))
            call(argv, self.train_environment, path.parent, speaker=self.title, task="trying one iteration")
            return read_weights(path.with_name("probe_iter_1.caffemodel"))

    def _no_gpu(self, wanted: int | str, reason: str) -> FerError:
        cannot = f"{self.program} cannot use it; {reason}"
        if "CPU-only" in reason:  # Caffe's own words
            cannot = f"the Caffe found ({self.program}) is CPU-only"
        return FerError(
            f"--gpu {wanted}: {cannot}\n"
            f"take --gpu {NO_GPU}, name a GPU build's caffe executable in FER_CAFFE, or take --engine pytorch"
        )

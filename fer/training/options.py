"""What a training, or its going on, may be told beside its net, solver and data."""

from dataclasses import dataclass
from pathlib import Path

from fer.engines.registry import AUTO


@dataclass(frozen=True)
class TrainOptions:
    """How a new run is trained.

    name            of the run directory (None: <net>-<solver>, with a number where that is taken)
    runs_dir        the folder of run directories
    engine          a name of the registry, or auto: the first of its engines that can do what is asked
    gpu             0, "0,1" or "all": of several each takes the net's batch, and their gradients are averaged
    precision       fp32, tf32, bf16, or auto: bf16 where the hardware calculates in it, else fp32
    max_iter, epochs, lr, batch_size, seed  in place of the prototxts' own, as fer.training.overrides says
    shuffle         read the LMDB of the training in a new order each epoch, as a solver's train_state can ask for too
    weights         a .caffemodel to start from
    patience        end once so many tests in a row have not beaten the best accuracy on val, whose snapshot is kept
    ema             keep an exponential average of the weights with this decay, as a snapshot beside each
    python_layers   let real Caffe import the modules of Python layers that are not fer's own
    tensorboard     the folder in which TensorBoard finds an event file of the run
    """

    name: str | None = None
    runs_dir: Path = Path("runs")
    engine: str = AUTO
    gpu: int | str | None = None
    precision: str = "fp32"
    max_iter: int | None = None
    epochs: float | None = None
    lr: float | None = None
    batch_size: int | None = None
    seed: int | None = None
    shuffle: bool = False
    weights: Path | None = None
    patience: int | None = None
    ema: float | None = None
    python_layers: bool = False
    tensorboard: Path | None = None


@dataclass(frozen=True)
class ResumeOptions:
    """How a run goes on.

    engine, gpu, precision  other ones than the run's own (auto, None): snapshots are the same for every engine;
                            gpu NO_GPU goes on on the CPU with what a GPU began
    max_iter, epochs        train further than the run's solver says, counted from the run's beginning
    patience                another one than the run's own (None); 0: none
    data                    where the run's data directory has moved to (None: it is looked for)
    python_layers           let real Caffe import the modules of Python layers that are not fer's own
    tensorboard             the folder in which TensorBoard finds an event file of the run
    approximate             let an engine that cannot resume exactly go on in mid-epoch, with the data from their start
    """

    engine: str = AUTO
    gpu: int | str | None = None
    precision: str | None = None
    max_iter: int | None = None
    epochs: float | None = None
    patience: int | None = None
    data: Path | None = None
    approximate: bool = False
    python_layers: bool = False
    tensorboard: Path | None = None

"""A training's passes replayed as a graph are those that run without one, to the last bit."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from bench_gpu import Data, make_case
from replayed_graph import FailedCuda, MarkedGenerator, use_graphs
from solver_cases import torch_net, torch_training
from torch import Tensor

from fer.engines.core.log import Log
from fer.engines.core.solver import Solver
from fer.engines.pytorch import step
from fer.engines.pytorch.backend import Backend
from fer.formats.prototxt import read_net, read_solver, write_text
from fer.nets.zoo import net_names


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Batches of two are too little for more, which wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return Data(None, tmp_path_factory.mktemp("data"), 16)


def make_solver(folder: Path, data: Data, net: str, iter_size: int) -> Path:
    """The net's first solver, with batches of two shuffled images and a test net's worth of nothing else."""
    path = make_case(f"{net}:s1", data, folder, small=True).path
    solver = read_solver(path)
    solver.iter_size = iter_size
    solver.train_state.stage.append("shuffle")
    write_text(path, solver)
    proto = read_net(solver.net)
    next(layer for layer in proto.layer if layer.type == "Data").data_param.batch_size = 2
    write_text(Path(solver.net), proto)
    return path


def train(solver: Solver, iterations: int) -> tuple[list[Tensor], list[Tensor]]:
    """The losses, and the parameters then."""
    losses = []
    for _ in range(iterations):
        solver.step(1)
        losses.append(solver._losses[-1])
    return losses, [learned.parameter.detach() for learned in torch_net(solver.net).learnable]


def quiet(path: Path, log: Log | None = None) -> Solver:
    return Solver(read_solver(path), path, Backend(), log or Log(silent=True))


@pytest.mark.full
@pytest.mark.parametrize("iter_size", [1, 2])
@pytest.mark.parametrize("net", net_names())
def test_a_replay_is_a_pass(
    tmp_path: Path, data: Data, net: str, iter_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "_WARM_UP", 1)
    path = make_solver(tmp_path, data, net, iter_size)
    iterations = 2
    losses, parameters = train(quiet(path), iterations)
    solver = quiet(path)
    cuda = use_graphs(solver, monkeypatch)
    other_losses, other_parameters = train(solver, iterations)
    assert torch_training(solver).step.captured and cuda.captures == 1
    for ours, theirs in zip([*losses, *parameters], [*other_losses, *other_parameters], strict=True):
        assert torch.equal(ours, theirs)


def test_the_graph_s_first_pass_of_an_iteration_is_added_to_those_before(
    tmp_path: Path, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three warm-up passes of two an iteration: the capture falls between the two of the second."""
    path = make_solver(tmp_path, data, "lenet", iter_size=2)
    losses, parameters = train(quiet(path), 3)
    solver = quiet(path)
    use_graphs(solver, monkeypatch)
    other_losses, other_parameters = train(solver, 3)
    assert torch_training(solver).step.captured
    assert all(map(torch.equal, [*losses, *parameters], [*other_losses, *other_parameters]))


@pytest.mark.full
@pytest.mark.parametrize("iter_size", [1, 2])
def test_a_failed_capture_leaves_no_trace(
    tmp_path: Path, data: Data, iter_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_solver(tmp_path, data, "alexnet", iter_size)  # with dropout, crops and mirrors
    losses, parameters = train(quiet(path), 4)
    text = io.StringIO()
    solver = quiet(path, Log(text))
    cuda = use_graphs(solver, monkeypatch, FailedCuda)
    marked = MarkedGenerator(value=torch.tensor([7], dtype=torch.uint8))
    monkeypatch.setitem(torch_net(solver.net).context.seeds._generators, "marked", marked)
    monkeypatch.setattr(torch_training(solver).step, "_record", _fails_in_a_layer(solver))
    stream = cuda.now
    other_losses, other_parameters = train(solver, 4)
    assert not torch_training(solver).step.captured and cuda.now is stream
    assert marked.registered and not marked.capturing and int(marked.value) == 7
    (line,) = [line for line in text.getvalue().splitlines() if line.startswith("W")]
    assert line.endswith("No CUDA graph of this net, which runs without one, slower: the first reason")
    assert all(map(torch.equal, [*losses, *parameters], [*other_losses, *other_parameters]))


def _fails_in_a_layer(solver: Solver) -> Callable[[], None]:
    """A pass that is recorded, so that nothing of it happens but for new gradients, and then fails."""

    def fails() -> None:
        torch_training(solver).step.net.context.seeds.generator("made while capturing")
        for parameter in torch_training(solver).step.trained:
            if parameter.grad is None:
                parameter.grad = torch.full_like(parameter, torch.nan)
        raise RuntimeError("the first reason\nand more")

    return fails


def test_no_graph_is_captured_where_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Backend().graphs
    monkeypatch.setenv("FER_TORCH_GRAPH", "0")
    assert not Backend().graphs

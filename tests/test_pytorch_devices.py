"""A run that goes on elsewhere: on another kind of device, on several ranks; and ranks that do not come."""

import io
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from solver_cases import quiet_solver, torch_net, write_solver

from fer.engines.core import signals as signals_module
from fer.engines.core.log import Log
from fer.engines.core.sidecar import generators_of
from fer.engines.core.signals import Requests, Signals
from fer.engines.core.solver import Solver
from fer.engines.pytorch import distributed
from fer.engines.pytorch.backend import Backend
from fer.engines.pytorch.distributed import Ranks
from fer.engines.pytorch.registry import Seeds
from fer.errors import FerError
from fer.formats.prototxt import read_solver

CUDA_STATE = np.arange(16, dtype=np.uint8)  # of a CUDA generator: its seed and its offset


def change_generators(sidecar: Path, change: Callable[[np.ndarray], np.ndarray | None]) -> None:
    """Rewrite the generators' states of a sidecar."""
    with np.load(sidecar) as file:
        arrays = {name: file[name] for name in file.files}
    found = [name for name in arrays if re.match(r"\d+\ngenerators", name)]
    assert found
    for name in found:
        changed = change(arrays.pop(name))
        if changed is not None:
            arrays[name] = changed
    with sidecar.open("wb") as stream:
        np.savez(stream, **arrays)


def resumed(solver: Path, state: Path, ranks: Ranks | None = None) -> tuple[Solver, str]:
    text = io.StringIO()
    backend = Backend(ranks=ranks or Ranks())
    return Solver(read_solver(solver), solver, backend, Log(text), snapshot=state), text.getvalue()


def draws(solver: Solver) -> torch.Tensor:
    return torch.rand(4, generator=torch_net(solver.net).context.seeds.generator("drop/dropout"))


def test_a_run_of_another_device_goes_on_with_a_warning(tmp_path: Path) -> None:
    path = write_solver(tmp_path, "run", dropout=True, snapshot=5)
    quiet_solver(path).step(10)
    state = tmp_path / "run_iter_10.solverstate"
    kept, said = resumed(path, state)
    assert "begin anew" not in said
    change_generators(tmp_path / "run_iter_10.fer.npz", lambda _state: CUDA_STATE)
    change_generators(tmp_path / "run_iter_5.fer.npz", lambda _state: CUDA_STATE)
    (one, said), (two, _), (earlier, _) = (
        resumed(path, s) for s in (state, state, tmp_path / "run_iter_5.solverstate")
    )
    (line,) = [line for line in said.splitlines() if "begin anew" in line]
    assert line.startswith("W") and "drop/dropout" in line
    assert one.iteration == 10
    drawn = [draws(solver) for solver in (one, two, kept, earlier)]
    assert torch.equal(drawn[0], drawn[1])  # from the seed, the name and the iteration
    assert len({tuple(values.tolist()) for values in drawn}) == 3
    one.step(2)


def test_a_damaged_generator_is_still_an_error(tmp_path: Path) -> None:
    path = write_solver(tmp_path, "run", dropout=True, snapshot=5)
    quiet_solver(path).step(5)
    for change in (lambda state: state[:100], lambda state: state.astype(np.float32)):
        change_generators(tmp_path / "run_iter_5.fer.npz", change)
        with pytest.raises(FerError, match=r"the saved state of the random generator '.*' does not fit"):
            resumed(path, tmp_path / "run_iter_5.solverstate")


def test_states_are_continued_or_begun_anew_by_name() -> None:
    seeds, other = Seeds(1), Seeds(1)
    torch.rand(5, generator=seeds.generator("a"))
    states: dict[str, torch.Tensor | None] = {**seeds.state(), "b": None, "c": torch.zeros(16, dtype=torch.uint8)}
    assert other.load_state(states, 7) == ["b", "c"]
    assert torch.equal(torch.rand(3, generator=other.generator("a")), torch.rand(3, generator=seeds.generator("a")))
    fresh = torch.Generator().manual_seed(seeds.derive("b/7"))
    assert torch.equal(torch.rand(3, generator=other.generator("b")), torch.rand(3, generator=fresh))


# ---- ranks


class OneOfTwo(Ranks):
    """A rank whose other one does what it does."""

    def __init__(self, rank: int, asked: list[list[int]] | None = None) -> None:
        super().__init__()
        self.world, self.rank = 2, rank
        self.asked: list[list[int]] = [] if asked is None else asked

    def agree(self, *numbers: int) -> list[int]:
        self.asked.append(list(numbers))
        return list(numbers)

    def gather(self, states: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        return [states, Seeds(1, scope="train/1").state() | {name: state + 0 for name, state in states.items()}]

    def same_parameters(self, net: object) -> None:
        pass

    def average_gradients(self) -> None:
        pass


def test_the_generators_of_other_ranks_go_on(tmp_path: Path) -> None:
    path = write_solver(tmp_path, "run", dropout=True, snapshot=5)
    first = Solver(read_solver(path), path, Backend(ranks=OneOfTwo(0)), Log(silent=True))
    first.step(5)
    state = tmp_path / "run_iter_5.solverstate"
    second, said = resumed(path, state, OneOfTwo(1))
    assert "begin anew" not in said and "Replaying" not in said
    assert torch.equal(draws(second), draws(first))  # by OneOfTwo's gather
    assert second.net.state()["layers"] == first.net.state()["layers"]
    with np.load(tmp_path / "run_iter_5.fer.npz") as file:
        assert any(f"\n{generators_of(1)}\n" in name for name in file.files)


def test_a_rank_that_the_run_did_not_have_begins_anew(tmp_path: Path) -> None:
    path = write_solver(tmp_path, "run", dropout=True, snapshot=5)
    quiet_solver(path).step(5)
    _, said = resumed(path, tmp_path / "run_iter_5.solverstate", OneOfTwo(1))
    assert "by fewer ranks" in said and "drop/dropout" in said


class Clock:
    """Time that passes as a test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(("each", "fewest", "most"), [(0.001, 100, 100), (0.02, 24, 25), (0.3, 1, 1), (40.0, 1, 1)])
def test_ranks_look_for_signals_twice_a_second(
    each: float, fewest: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(signals_module, "time", clock)
    signals, ranks = Signals(), OneOfTwo(0)
    requests = Requests(signals, ranks)
    looked = []
    for iteration in range(400):
        before = len(ranks.asked)
        assert requests.at(iteration) == 0
        if len(ranks.asked) > before:
            looked.append(iteration)
        clock.now += each
    gaps = np.diff(looked[1:])
    assert looked[:2] == [0, 1] and gaps.min() >= fewest and gaps.max() <= most
    signals.stop = 15
    heard = [iteration for iteration in range(400, 400 + most) if requests.at(iteration) == 30]
    assert len(heard) >= 1


def test_all_ranks_look_at_the_same_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though one is ten times slower, and only the other gets the signal."""
    meeting = threading.Barrier(2, timeout=60)
    said: dict[int, tuple[int, ...]] = {}

    class Rank(OneOfTwo):
        def agree(self, *numbers: int) -> list[int]:
            self.asked.append(list(numbers))
            said[self.rank] = numbers
            meeting.wait()
            largest = [max(pair) for pair in zip(said[0], said[1], strict=True)]
            meeting.wait()
            return largest

    results: dict[int, list[tuple[int, int]]] = {0: [], 1: []}

    def train(rank: int) -> None:
        signals, ranks = Signals(), Rank(rank)
        requests = Requests(signals, ranks)
        monkeypatch.setattr(requests, "_fitting", lambda _iteration: (5, 2)[rank])
        for iteration in range(60):
            if rank == 0 and iteration == 33:
                signals.snapshot = 1
            before = len(ranks.asked)
            request = requests.at(iteration)
            signals.snapshot = 0 if request else signals.snapshot
            if len(ranks.asked) > before:
                results[rank].append((iteration, request))

    threads = [threading.Thread(target=train, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0] == results[1] and [i for i, request in results[0] if request] == [34]


def test_a_rank_that_does_not_come_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for name, value in (("FER_STORE_PORT", store.port), ("WORLD_SIZE", 3), ("RANK", 1)):
        monkeypatch.setenv(name, str(value))
    assert timedelta(minutes=5) == distributed._JOIN
    monkeypatch.setattr(distributed, "_JOIN", timedelta(seconds=1))
    store.set("rank 0 is here", "")
    with pytest.raises(FerError, match="rank 1 of 3 cannot reach the others: after 1 s there is no rank 2") as caught:
        Ranks().join(torch.device("cpu"))
    assert "GLOO_SOCKET_IFNAME" in str(caught.value)

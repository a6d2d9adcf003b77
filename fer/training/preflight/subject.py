"""What the checks look at: a net and the states that its solver puts it in."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from fer.nets.lint import net_lines
from fer.nets.states import State, taking_part, test_states, train_state
from fer.schema import caffe_pb2


@dataclass(frozen=True)
class Subject:
    """A solver and a net with their files, which need not be those of the run yet."""

    solver: caffe_pb2.SolverParameter
    solver_path: Path
    net: caffe_pb2.NetParameter
    net_path: Path

    def with_net(self, net: caffe_pb2.NetParameter) -> "Subject":
        """The same with another version of its net, of the same layers."""
        return replace(self, net=net)

    @cached_property
    def lines(self) -> list[int]:
        """The line of each layer."""
        return net_lines(self.net, self.net_path)

    @property
    def train(self) -> State:
        return train_state(self.solver)

    @property
    def tests(self) -> list[State]:
        return test_states(self.solver)

    @property
    def ambiguous(self) -> bool:
        """Whether some layer has include and exclude rules, so that nothing can be said of states."""
        return any(layer.include and layer.exclude for layer in self.net.layer)

    def positions(self, state: State) -> list[int]:
        """Of the layers that take part in a state."""
        return taking_part(self.net, state)

    def layers(self) -> Iterator[tuple[int, caffe_pb2.LayerParameter]]:
        """The layers that take part in the training or in a test, each once, with their positions."""
        for i in dict.fromkeys(i for state in (self.train, *self.tests) for i in self.positions(state)):
            yield i, self.net.layer[i]

    def fault(self, position: int, sentence: str) -> str:
        """What is wrong with a layer, with file and line."""
        return f"{self.net_path}:{self.lines[position]}: {sentence}"

"""Training on several devices with Caffe's multi-GPU meaning: every rank its own batches, gradients averaged.

torchrun --nproc-per-node 2 -m fer.engines.pytorch train --solver solver.prototxt

On several machines GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME name the network interface that joins them (eth0, say),
where the one that a machine's own name leads to is another.
"""

import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from fer.engines.caffe import ipc
from fer.engines.core.signals import pass_on
from fer.engines.pytorch.device import device_of
from fer.engines.pytorch.net import Net
from fer.errors import FerError

PROGRAM = "fer.engines.pytorch"
# For ranks that have not all started yet.
_JOIN = timedelta(minutes=5)
# A test pass of rank 0 may keep the others waiting.
_PATIENCE = timedelta(days=2)
# Seconds that the ranks have to end by themselves once one has failed.
_GRACE = 10


class Ranks:
    """The processes that train together; a single one where nothing else was started."""

    def __init__(self) -> None:
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.local = int(os.environ.get("LOCAL_RANK", "0"))
        self._control: dist.ProcessGroup | None = None
        self._flat: Tensor | None = None

    @property
    def alone(self) -> bool:
        return self.world == 1

    def device(self, gpus: Sequence[int]) -> torch.device:
        """This rank's device: its own GPU of those given, else the CPU."""
        if not gpus:
            return torch.device("cpu")
        if self.alone:
            return device_of(gpus[0])
        if self.local >= len(gpus):
            raise FerError(f"{self.world} processes and only {len(gpus)} GPUs given; start one process for each GPU")
        return device_of(gpus[self.local])

    def join(self, device: torch.device) -> None:
        """Meet the other ranks; FerError where they cannot be reached, or not all are there after five minutes."""
        if self.alone:
            return
        backend = "nccl" if device.type == "cuda" else "gloo"
        cure = "on several machines, GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME name the interface that joins them"
        try:
            store = self._meet()
            dist.init_process_group(backend, timeout=_PATIENCE, store=store, rank=self.rank, world_size=self.world)
            control = dist.new_group(backend="gloo", timeout=_PATIENCE)
            assert isinstance(control, dist.ProcessGroup)  # not NON_GROUP_MEMBER: every rank is in it
            self._control = control
        except (RuntimeError, ValueError) as error:
            why = str(error).partition("\n")[0]
            raise FerError(f"rank {self.rank} of {self.world} cannot reach the others: {why}\n{cure}") from error

    def _meet(self) -> dist.Store:
        """The store that the ranks share, once all of them are there."""
        port = os.environ.get("FER_STORE_PORT")  # start_ranks' store; torchrun has one of its own
        if port:
            store: dist.Store = dist.TCPStore("127.0.0.1", int(port), is_master=False, timeout=_JOIN)
        else:
            store, *_ = next(dist.rendezvous("env://", self.rank, self.world, timeout=_JOIN))
        store.set(f"rank {self.rank} is here", "")
        # All at once and not each by itself: five minutes are for them all.
        keys = {f"rank {rank} is here": rank for rank in range(self.world)}
        try:
            store.wait(list(keys), _JOIN)
        except RuntimeError as error:
            missing = [str(rank) for key, rank in keys.items() if not store.check([key])]
            if not missing:
                raise
            raise RuntimeError(f"after {_JOIN.seconds:,} s there is no rank {', '.join(missing)}") from error
        return dist.PrefixStore("fer", store)

    def leave(self) -> None:
        """At the end of a training that went well: with NCCL, to leave after a failure waits for the others' part."""
        if not self.alone and dist.is_initialized():
            dist.destroy_process_group()

    def same_parameters(self, net: Net) -> None:
        """Give every rank the first one's parameters."""
        if not self.alone:
            for learned in net.learnable:
                dense = learned.parameter.data.contiguous()
                dist.broadcast(dense, 0)
                learned.parameter.data.copy_(dense)

    def hold_gradients(self, trained: Sequence[Tensor]) -> None:
        """Let the gradients of `trained` be views of one buffer, so that one reduction serves them all."""
        if self.alone or not trained:
            return
        self._flat = torch.zeros(sum(p.numel() for p in trained), dtype=trained[0].dtype, device=trained[0].device)
        start = 0
        for parameter in trained:
            piece = self._flat[start : start + parameter.numel()]
            parameter.grad = piece.as_strided(parameter.size(), parameter.stride())
            start += parameter.numel()

    def clear_gradients(self) -> None:
        if self._flat is not None:
            self._flat.zero_()

    def average_gradients(self) -> None:
        if self._flat is not None:
            dist.all_reduce(self._flat)
            self._flat.div_(self.world)

    def average(self, values: list[Tensor]) -> list[Tensor]:
        """The mean over the ranks of each of `values`."""
        if self.alone:
            return values
        flat = torch.cat([value.reshape(-1).float() for value in values])
        dist.all_reduce(flat)
        pieces = (flat / self.world).split([value.numel() for value in values])
        return [piece.reshape(value.shape) for piece, value in zip(pieces, values, strict=True)]

    def agree(self, *numbers: int) -> list[int]:
        """The largest of each number over all ranks: a signal that one of them got is everybody's."""
        if self.alone:
            return list(numbers)
        all_numbers = torch.tensor(numbers)
        dist.all_reduce(all_numbers, op=dist.ReduceOp.MAX, group=self._control)
        return all_numbers.tolist()

    def gather(self, states: Any) -> list[Any]:
        """What each rank gave, by rank, on the first; nothing on the others."""
        if self.alone:
            return [states]
        gathered: list[Any] | None = [None] * self.world if self.rank == 0 else None
        dist.gather_object(states, gathered, group=self._control)
        return gathered or []

    def wait(self) -> None:
        """Until every rank is here."""
        if not self.alone:
            dist.barrier(group=self._control)


def start_ranks(count: int, arguments: Sequence[str]) -> int:
    """Run this tool with the same arguments `count` times on this machine; the exit code of the first to fail.

    When one ends badly the others are ended too. SIGINT, SIGTERM and SIGHUP reach the first rank through `pass_on`,
    and the others through `Ranks.agree`.
    """
    # Held here, not by rank 0: who finds no store yet tries again ever more seldom (rank 0 45 s late: 10 s lost). And
    # the port is taken from the start, not looked up now and taken later.
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {"WORLD_SIZE": str(count), "FER_STORE_PORT": str(store.port), ipc.PARENT_PID: str(os.getpid())}
    shared["GLOO_SOCKET_IFNAME"] = "lo"  # all are on this machine, whatever its name resolves to
    command = [sys.executable, "-m", PROGRAM, *arguments]
    children: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(count):
            environment = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            children.append(subprocess.Popen(command, env=environment, start_new_session=True))
        failed, deadline = 0, math.inf
        with pass_on(children[0]):
            while True:
                codes = [child.poll() for child in children]
                if not failed and any(codes):
                    failed, deadline = next(filter(None, codes)), time.monotonic() + _GRACE
                if None not in codes or time.monotonic() > deadline:
                    return failed if failed >= 0 else 128 - failed
                time.sleep(0.1)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
            child.wait()

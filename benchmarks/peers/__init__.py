"""One adapter a peer: how each framework computes each family of workloads."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.workloads import Data, Workload


@dataclass(frozen=True)
class Side:
    """One framework's way to do one workload, built and ready.

    `call` does the work once and returns only when it is done; `read` gives the numbers of the last
    call as NumPy arrays: `loss` and every weight for a training step, `value` and `gradient` otherwise.
    gradc's sides carry their executable and what it is fed.
    """

    call: Callable[[], object]
    read: Callable[[], Data]
    executable: Any = None
    feeds: Data | None = None


Builder = Callable[[Workload, Data], Side]


@dataclass(frozen=True)
class Peer:
    """A framework: the adapter's module, the distribution whose version is reported, and its sides."""

    name: str
    distribution: str
    sides: tuple[str, ...]
    home: str = ""

    @property
    def process(self) -> str:
        """Peers of the same process name are timed in one process."""
        return self.home or self.name


PEERS: tuple[Peer, ...] = (
    Peer("gradc", "gradc", ("gradc",), home="numpy"),
    Peer("hand", "numpy", ("hand", "hand-blocked"), home="numpy"),
    Peer("jax", "jax", ("jax",)),
    Peer("torch", "torch", ("torch",)),
    Peer("torch_compile", "torch", ("torch.compile",)),
    Peer("tensorflow", "tensorflow-cpu", ("tensorflow", "tensorflow-xla")),
    Peer("pytensor", "pytensor", ("pytensor",)),
    Peer("autograd", "autograd", ("autograd",)),
    Peer("casadi", "casadi", ("casadi-sx", "casadi-mx")),
    Peer("numba", "numba", ("numba",)),
)


def peer_of(side: str) -> Peer:
    """The peer whose adapter builds the side."""
    return next(peer for peer in PEERS if side in peer.sides)


def builders(side: str) -> dict[str, Builder]:
    """The side's builders by workload family; imports its framework, so ImportError means absent."""
    module = importlib.import_module(f"benchmarks.peers.{peer_of(side).name}_side")
    table: dict[str, dict[str, Builder]] = module.BUILDERS
    return table[side]

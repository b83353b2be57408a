"""How good the planner's orders are, against the best there is: `python -m benchmarks.orders`.

The graphs are random, small enough (some twelve nodes) to try every order of; sizes of values are random too.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from statistics import mean
from typing import NamedTuple

import gradc as gc
from gradc.ir import Node
from gradc.ordering import greedy_order, greedy_order_from_the_end, peak_of


class Peaks(NamedTuple):
    """The largest live set of one graph in each order."""

    created: int
    greedy: int
    from_the_end: int
    best: int

    @property
    def chosen(self) -> int:
        """The planner takes the best of the three."""
        return min(self.created, self.greedy, self.from_the_end)


def random_graph(seed: int, count: int) -> tuple[list[Node], list[Node], dict[Node, int]]:
    """Nodes in order of creation, results among them, and sizes."""
    rng = random.Random(seed)
    graph = gc.Graph("random")
    x = graph.placeholder("x", 4)
    made: list[Node] = []
    for k in range(count):
        first, second = (rng.choice([x, *made[-6:]]) for _ in range(2))
        made.append(first * float(k + 2) if rng.random() < 0.5 else first + second)
    used = {i for node in made for i in node.inputs}
    results = [node for node in made if node not in used]
    return made, results, {node: rng.choice((1, 1, 2, 8, 32)) for node in made}


def best_peak(nodes: Sequence[Node], results: Collection[Node], sizes: Mapping[Node, int]) -> int:
    """The least peak of all orders, by dynamic programming over the sets of nodes that are done."""
    number = {node: k for k, node in enumerate(nodes)}
    needs = [sum({1 << number[i] for i in node.inputs if i in number}) for node in nodes]
    users = [sum(1 << k for k, need in enumerate(needs) if need >> j & 1) for j in range(len(nodes))]
    kept = [any(node is result for result in results) for node in nodes]
    full = (1 << len(nodes)) - 1

    def live(done: int) -> int:
        return sum(sizes[n] for k, n in enumerate(nodes) if done >> k & 1 and (kept[k] or users[k] & ~done))

    @cache
    def peak_from(done: int) -> int:
        if done == full:
            return 0
        now = live(done)
        ready = [k for k in range(len(nodes)) if not done >> k & 1 and not needs[k] & ~done]
        return min(max(now + sizes[nodes[k]], peak_from(done | 1 << k)) for k in ready)

    return peak_from(0)


def peaks_of(seed: int, count: int) -> Peaks:
    """Every order's peak on one random graph."""
    nodes, results, sizes = random_graph(seed, count)
    orders = (nodes, greedy_order(nodes, results, sizes), greedy_order_from_the_end(nodes, results, sizes))
    return Peaks(*(peak_of(order, results, sizes) for order in orders), best_peak(nodes, results, sizes))


def main() -> None:
    """Print how far each order is above the best one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.orders", description=__doc__)
    parser.add_argument("--graphs", type=int, default=300)
    given = parser.parse_args()
    print(f"{'order':<14} {'peak / best, mean':>18} {'worst':>8} {'best of all':>12}")
    found = [peaks_of(seed, 8 + seed % 5) for seed in range(given.graphs)]
    for name in ("created", "greedy", "from_the_end", "chosen"):
        ratios = [getattr(p, name) / p.best for p in found]
        print(f"{name:<14} {mean(ratios):>18.3f} {max(ratios):>8.2f} {mean(r == 1 for r in ratios):>12.0%}")


if __name__ == "__main__":
    main()

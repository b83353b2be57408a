"""Orders of computation: which node runs when, so that little is alive at once and updates wait for what reads the old value."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence

from gradc.ir import Node


def dependent_on(nodes: Sequence[Node], updates: Iterable[Node]) -> set[Node]:
    """What is computed from the value of an update, and so comes after it."""
    sources = set(updates)
    dependent: set[Node] = set()
    for node in nodes:
        if any(i in sources for i in node.inputs):
            dependent.add(node)
            sources.add(node)
    return dependent


def updates_early(nodes: Sequence[Node], updates: Iterable[Node], before: Mapping[Node, Sequence[Node]]) -> list[Node]:
    """Each update right after the last that has to run before it, so that the memory of its gradient is free again.

    What depends on an update comes after all of them, in the order it was made: there is nothing to move it before.
    """
    given = set(updates)
    dependent = dependent_on(nodes, given)
    early = [n for n in nodes if n not in dependent]
    order = [n for n in early if n not in given] + [n for n in early if n in given]
    position = {node: k for k, node in enumerate(order)}

    def place(node: Node) -> tuple[int, bool]:
        if node not in before:
            return position[node], False
        return max(position.get(i, -1) for i in (*node.inputs, *before[node])), True

    return sorted(order, key=place) + [n for n in nodes if n in dependent]


def greedy_order(
    nodes: Sequence[Node],
    results: Iterable[Node],
    sizes: Mapping[Node, int],
    after: Mapping[Node, Sequence[Node]] | None = None,
) -> list[Node]:
    """At each step the ready node that grows the live set least; ties in the order they were made.

    `after` names nodes that one has to wait for though it reads none of them; where that is a circle, the order ends early.
    """
    after = after or {}
    inside = set(nodes)
    users: dict[Node, list[Node]] = {}
    waiting: dict[Node, int] = {}
    remaining: dict[Node, int] = {}
    for node in nodes:
        operands = {i for i in node.inputs if i in inside}
        awaited = operands.union(after.get(node, ()))
        waiting[node] = len(awaited)
        for i in awaited:
            users.setdefault(i, []).append(node)
        for i in operands:
            remaining[i] = remaining.get(i, 0) + 1
    kept = set(results)

    def growth(node: Node) -> int:
        freed = sum(sizes[i] for i in set(node.inputs) if i in inside and remaining[i] == 1 and i not in kept)
        return sizes[node] - freed

    ready = [(growth(n), n.serial, n) for n in nodes if not waiting[n]]
    heapq.heapify(ready)
    order: list[Node] = []
    done: set[Node] = set()
    while ready:
        cost, serial, node = heapq.heappop(ready)
        if node in done:
            continue
        now = growth(node)
        if now > cost:
            heapq.heappush(ready, (now, serial, node))
            continue
        done.add(node)
        order.append(node)
        for i in set(node.inputs):
            if i in inside:
                remaining[i] -= 1
                if remaining[i] == 1:
                    for user in users[i]:
                        if not waiting[user] and user not in done:
                            heapq.heappush(ready, (growth(user), user.serial, user))
        for user in users.get(node, ()):
            waiting[user] -= 1
            if not waiting[user]:
                heapq.heappush(ready, (growth(user), user.serial, user))
    return order


def greedy_order_from_the_end(
    nodes: Sequence[Node],
    results: Iterable[Node],
    sizes: Mapping[Node, int],
    after: Mapping[Node, Sequence[Node]] | None = None,
) -> list[Node]:
    """The last step first: of those that no later step waits for, the one before which the live set is least.

    That sees what `greedy_order` cannot, that to begin something is to have it until it is used; it is the better one
    more often (python -m benchmarks.orders). Arguments as there.
    """
    after = after or {}
    inside = set(nodes)
    operands = {node: {i for i in node.inputs if i in inside} for node in nodes}
    waiting = dict.fromkeys(nodes, 0)
    users: dict[Node, list[Node]] = {}
    for node in nodes:
        for i in operands[node].union(after.get(node, ())):
            waiting[i] += 1
        for i in operands[node]:
            users.setdefault(i, []).append(node)
    live = set(results)

    def entry(node: Node) -> tuple[int, int, Node]:
        return sum(sizes[i] for i in operands[node] if i not in live) - sizes[node], -node.serial, node

    ready = [entry(n) for n in nodes if not waiting[n]]
    heapq.heapify(ready)
    order: list[Node] = []
    done: set[Node] = set()
    while ready:
        node = heapq.heappop(ready)[2]
        if node in done:
            continue
        done.add(node)
        order.append(node)
        for i in operands[node] - live:
            live.add(i)
            for user in users[i]:
                if not waiting[user] and user not in done:
                    heapq.heappush(ready, entry(user))
        for i in operands[node].union(after.get(node, ())):
            waiting[i] -= 1
            if not waiting[i]:
                heapq.heappush(ready, entry(i))
    return order[::-1]


def peak_of(order: Sequence[Node], results: Iterable[Node], sizes: Mapping[Node, int]) -> int:
    """The largest sum of `sizes` alive at once, running in `order`."""
    last = {i: k for k, node in enumerate(order) for i in node.inputs}
    for node in results:
        last[node] = len(order)
    live = peak = 0
    for k, node in enumerate(order):
        live += sizes[node]
        peak = max(peak, live)
        for i in {*node.inputs, node}:
            if i in sizes and last.get(i, k) == k:
                live -= sizes[i]
    return peak

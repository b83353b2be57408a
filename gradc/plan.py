"""A plan: the order of the steps, where every value lives, and when its memory is free again. Plain data.

A value lives in the arena (one block of memory, packed by lifetime), or is fed, constant, a view of another
value, a fresh output of each call, or whatever an op without a kernel returned.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum, auto
from typing import Any, NamedTuple

import numpy as np

from gradc.ir import CONSTANT, PLACEHOLDER, Array, Call, Graph, Kernel, Node, Op, concrete_type
from gradc.types import TensorType, resolve

ALIGNMENT = 64
_SMALL_BYTES = 1 << 18
_GREEDY_NODES = 4096
_PACK_NODES = 512


class Home(Enum):
    """Where a value lives."""

    FEED = auto()
    CONSTANT = auto()
    ARENA = auto()
    VIEW = auto()
    OUTPUT = auto()
    UPDATE = auto()
    FRESH = auto()


class Block(NamedTuple):
    """Bytes of the arena from one step to another, both included."""

    first: int
    last: int
    nbytes: int


class Step(NamedTuple):
    """One node to compute; `kernel` is None where the op only evaluates."""

    node: Node
    kernel: Kernel | None
    scratch: tuple[int, ...] = ()


class Plan(NamedTuple):
    """Everything that emission needs, for one set of concrete dimensions.

    Attributes:
        graph: the graph, dimensions possibly symbolic.
        dims: the value of each symbolic dimension.
        order: every node that is computed, views too, in order of computation; nodes without operands (constants, and
            dimensions, which are numbers here) are not.
        steps: the nodes that cost a call, with their kernels.
        home: where each node's value lives.
        root: the node whose memory a value is in: itself unless it is a view.
        offset: where in the arena each arena value (and scratch buffer, by number) starts.
        types: the concrete type of each node.
        attrs: the concrete attributes of each node that has any.
        arena_bytes: the size of the arena.
        live_bytes: the arena bytes alive at each step: no packing needs less than the largest.
        blocks, holders: the arena's blocks, and the nodes whose values each one holds, one after the other.
    """

    graph: Graph
    dims: Mapping[str, int]
    outputs: tuple[tuple[str, Node], ...]
    updates: tuple[tuple[str, Node], ...]
    order: tuple[Node, ...]
    steps: tuple[Step, ...]
    home: dict[Node, Home]
    root: dict[Node, Node]
    offset: dict[Node | int, int]
    scratch: tuple[TensorType, ...]
    types: dict[Node, TensorType]
    attrs: dict[Node, dict[str, Any]]
    arena_bytes: int
    live_bytes: tuple[int, ...]
    last_use: dict[Node, int]
    blocks: tuple[Block, ...]
    holders: tuple[tuple[Node, ...], ...]

    def in_place(self, node: Node, operand: Node) -> bool:
        """True when `node` is computed in the memory of `operand`, its own operand."""
        offset = self.offset.get(node)
        return offset is not None and offset == self.offset.get(operand)

    def calls(self, node: Node, kernel: Kernel) -> Iterator[Call]:
        """The calls of a kernel, without the copy of an operand onto itself."""
        for call in kernel.calls:
            if call.function is np.copyto and call.arguments == "{out}, {0}" and self.in_place(node, node.inputs[0]):
                continue
            yield call


def make_plan(
    graph: Graph,
    outputs: Sequence[tuple[str, Node]],
    updates: Sequence[tuple[str, Node]],
    dims: Mapping[str, int],
    resident: bool = False,
) -> Plan:
    """Plan `graph` for concrete dimensions: results `outputs`, and `updates` (placeholder name, node) written last.

    Where `resident`, every value lives in the arena, feeds and outputs as copies, so that all calls can be bound
    before they run: what a schedule of many small calls wants.
    """
    types, attrs = _concrete(graph, dims)
    layout = _Layout(types, attrs)
    plans = [
        _Planner(graph, dict(dims), tuple(outputs), tuple(updates), order, types, attrs, layout, resident).plan()
        for order in _orders(graph, [node for _, node in outputs], dict(updates), types, layout)
    ]
    return min(plans, key=lambda plan: plan.arena_bytes)


def _concrete(graph: Graph, dims: Mapping[str, int]) -> tuple[dict[Node, TensorType], dict[Node, dict[str, Any]]]:
    attrs: dict[Node, dict[str, Any]] = {}
    if not dims:
        for node in graph.nodes:
            if node.attrs and node.op is not CONSTANT:
                attrs[node] = dict(node.attrs)
        return {node: node.type for node in graph.nodes}, attrs
    types: dict[Node, TensorType] = {}
    for node in graph.nodes:
        resolved = tuple([(k, resolve(v, dims)) for k, v in node.attrs])
        types[node] = concrete_type(node, tuple([types[i] for i in node.inputs]), resolved, dims)
        if resolved:
            attrs[node] = dict(resolved)
    return types, attrs


def nbytes_of(node_type: TensorType) -> int:
    """The bytes of a concrete type."""
    size = node_type.dtype.itemsize
    for s in node_type.shape:
        size *= s  # type: ignore[assignment]
    return size


# --- views -------------------------------------------------------------------------------------------


class _Layout:
    """Which results NumPy can make as views, found out on arrays of the same strides."""

    def __init__(self, types: Mapping[Node, TensorType], attrs: Mapping[Node, dict[str, Any]]) -> None:
        self._types = types
        self._attrs = attrs
        self._models: dict[Node, Array] = {}

    def model(self, node: Node) -> Array:
        """An array laid out as the value of `node` will be; its entries are never touched."""
        found = self._models.get(node)
        if found is None:
            node_type = self._types[node]
            found = self._models[node] = np.empty(node_type.shape, node_type.dtype)
        return found

    def is_view(self, node: Node) -> bool:
        """True when `node` can be a view of its operand."""
        if not node.op.view:
            return False
        operand = self.model(node.inputs[0])
        result = node.op.evaluate(operand, **self._attrs.get(node, {}))
        if result.size and not np.may_share_memory(result, operand):
            return False
        self._models[node] = result
        return True


# --- order -------------------------------------------------------------------------------------------


def _orders(
    graph: Graph, outputs: Sequence[Node], updates: Mapping[str, Node], types: Mapping[Node, TensorType], layout: _Layout
) -> list[list[Node]]:
    """The orders worth planning: as the nodes were made and, where there are bytes to save, the greedy one."""
    nodes = [n for n in graph.nodes if n.inputs]
    before = _before_updates(graph, nodes, updates, layout)
    created = _updates_early(nodes, updates.values(), before) if updates else nodes
    if len(nodes) > _GREEDY_NODES:
        return [created]
    kept = set(outputs)
    sizes = {n: 0 if n.op.view or (n in before and n not in kept) else nbytes_of(types[n]) for n in nodes}
    if sum(sizes.values()) <= _SMALL_BYTES:
        return [created]
    greedy = greedy_order(created, outputs, sizes, before)
    return [created, greedy] if len(greedy) == len(nodes) else [created]


def _before_updates(graph: Graph, nodes: Sequence[Node], updates: Mapping[str, Node], layout: _Layout) -> dict[Node, list[Node]]:
    """For each update, what has to run before it: nodes that read the value which it overwrites, and all that might fail.

    A call that raises has then updated nothing. What depends on an update cannot come before it: such an update is copied into
    its array at the end, if that array is still read or something might still fail.
    """
    if not updates:
        return {}
    root: dict[Node, Node] = {}
    users: dict[Node, list[Node]] = {}
    for node in nodes:
        if node.op.view and layout.is_view(node):
            root[node] = root.get(node.inputs[0], node.inputs[0])
        for i in node.inputs:
            users.setdefault(root.get(i, i), []).append(node)
    dependent = _dependent(nodes, updates.values())
    fallible = [n for n in nodes if may_fail(n.op)]
    found: dict[Node, list[Node]] = {}
    for name, node in updates.items():
        if node.inputs and name in graph.placeholders:
            before = (*users.get(graph.placeholders[name], ()), *fallible)
            found.setdefault(node, []).extend(u for u in before if u is not node and u not in dependent)
    return found


def may_fail(op: Op) -> bool:
    """True where a call can raise. An op with a kernel cannot, unless it says so: it is NumPy writing where there is room."""
    return op.raises or (op.kernel is None and not op.view)


def _dependent(nodes: Sequence[Node], updates: Iterable[Node]) -> set[Node]:
    """What is computed from the value of an update, and so comes after it."""
    sources = set(updates)
    dependent: set[Node] = set()
    for node in nodes:
        if any(i in sources for i in node.inputs):
            dependent.add(node)
            sources.add(node)
    return dependent


def _updates_early(nodes: Sequence[Node], updates: Iterable[Node], before: Mapping[Node, Sequence[Node]]) -> list[Node]:
    """Each update right after the last that has to run before it, so that the memory of its gradient is free again.

    What depends on an update comes after all of them, in the order it was made: there is nothing to move it before.
    """
    given = set(updates)
    dependent = _dependent(nodes, given)
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


# --- memory ------------------------------------------------------------------------------------------


class _Planner:
    """Walks the order once, giving each value a home and a lifetime."""

    def __init__(
        self,
        graph: Graph,
        dims: dict[str, int],
        outputs: tuple[tuple[str, Node], ...],
        updates: tuple[tuple[str, Node], ...],
        order: list[Node],
        types: dict[Node, TensorType],
        attrs: dict[Node, dict[str, Any]],
        layout: _Layout,
        resident: bool,
    ) -> None:
        self.resident = resident
        self.graph, self.dims, self.outputs, self.updates = graph, dims, outputs, updates
        self.order, self.types, self.attrs, self.layout = order, types, attrs, layout
        self.home: dict[Node, Home] = {}
        self.root: dict[Node, Node] = {}
        self.kernels: dict[Node, Kernel | None] = {}
        self.last: dict[Node, int] = {}
        self.slot: dict[Node, int] = {}
        self.blocks: list[Block] = []
        self.holders: list[list[Node]] = []
        self.offset: dict[Node | int, int] = {}

    def plan(self) -> Plan:
        self._find_homes()
        self._find_last_uses()
        direct = {} if self.resident else self._direct_updates()
        steps, scratch, scratch_slots = self._lay_out(direct)
        offsets, arena_bytes = pack(self.blocks)
        for node, slot in self.slot.items():
            self.offset[node] = offsets[slot]
        for number, slot in enumerate(scratch_slots):
            self.offset[number] = offsets[slot]
        return Plan(
            self.graph, self.dims, self.outputs, self.updates, tuple(self.order), tuple(steps), self.home, self.root,
            self.offset, tuple(scratch), self.types, self.attrs, arena_bytes,
            live_bytes(self.blocks, len(self.order)), self.last, tuple(self.blocks), tuple(map(tuple, self.holders)),
        )  # fmt: skip

    def _find_homes(self) -> None:
        home, root = self.home, self.root
        for node in self.graph.nodes:
            if node.op is PLACEHOLDER:
                home[node], root[node] = Home.ARENA if self.resident else Home.FEED, node
            elif not node.inputs:
                home[node], root[node] = Home.CONSTANT, node
        owned = {node for _, node in self.outputs}
        types, attrs = self.types, self.attrs
        empty: dict[str, Any] = {}
        for node in self.order:
            if node.op.view and self.layout.is_view(node):
                home[node], root[node] = Home.VIEW, root[node.inputs[0]]
                continue
            root[node] = node
            kernel = self._kernel(node, [types[i] for i in node.inputs], types[node], attrs.get(node, empty))
            self.kernels[node] = kernel
            if self.resident:
                home[node] = Home.ARENA
            elif kernel is None:
                home[node] = Home.FRESH
            else:
                home[node] = Home.OUTPUT if node in owned else Home.ARENA

    @staticmethod
    def _kernel(node: Node, inputs: list[TensorType], out: TensorType, attrs: dict[str, Any]) -> Kernel | None:
        if node.op.view:
            return COPY
        return node.op.kernel(inputs, out, attrs) if node.op.kernel is not None else None

    def _find_last_uses(self) -> None:
        last, root = self.last, self.root
        for k, node in enumerate(self.order):
            last[root[node]] = k
            for i in node.inputs:
                last[root[i]] = k
        end = len(self.order)
        for _, node in (*self.outputs, *self.updates):
            last[root[node]] = end

    def _direct_updates(self) -> dict[Node, Node]:
        """Update nodes whose step may write straight into the fed array: nothing reads the old value or fails afterwards."""
        direct: dict[Node, Node] = {}
        owned = {node for _, node in self.outputs}
        position = {node: k for k, node in enumerate(self.order)}
        safe = max((k for k, node in enumerate(self.order) if may_fail(node.op)), default=-1)
        for name, node in self.updates:
            target = self.graph.placeholders.get(name)
            if target is None or self.home.get(node) is not Home.ARENA or node in owned or node in direct:
                continue
            if max(safe, self.last.get(target, -1)) > position[node] or not self._may_overwrite(node, target):
                continue
            direct[node] = target
            self.home[node] = Home.UPDATE
        return direct

    def _may_overwrite(self, node: Node, target: Node) -> bool:
        """True when computing `node` into the memory of `target` cannot spoil an operand still to be read."""
        kernel = self.kernels[node]
        uses = [k for k, i in enumerate(node.inputs) if self.root[i] is target]
        if not uses or kernel is None:
            return kernel is not None
        same = all(node.inputs[k] is target and k in kernel.inplace for k in uses)
        return same and (len(uses) == 1 or len(kernel.calls) == 1) and self.types[target] == self.types[node]

    def _lay_out(self, direct: Mapping[Node, Node]) -> tuple[list[Step], list[TensorType], list[int]]:
        steps: list[Step] = []
        scratch: list[TensorType] = []
        scratch_slots: list[int] = []
        ends = self.last
        if self.resident:
            for node in self.graph.placeholders.values():
                self.slot[node] = self._new_block(0, ends.get(node, 0), nbytes_of(self.types[node]), node)
        for k, node in enumerate(self.order):
            home = self.home[node]
            if home is Home.VIEW:
                continue
            kernel = self.kernels[node]
            numbers: tuple[int, ...] = ()
            if kernel is not None and kernel.scratch:
                numbers = tuple(range(len(scratch), len(scratch) + len(kernel.scratch)))
                for scratch_type in kernel.scratch:
                    scratch.append(scratch_type)
                    scratch_slots.append(self._new_block(k, k, nbytes_of(scratch_type), node))
            if home is Home.ARENA:
                self._place(node, k, kernel, ends)
            steps.append(Step(node, kernel, numbers))
        return steps, scratch, scratch_slots

    def _new_block(self, first: int, last: int, nbytes: int, holder: Node) -> int:
        self.blocks.append(Block(first, last, nbytes))
        self.holders.append([holder])
        return len(self.blocks) - 1

    def _place(self, node: Node, k: int, kernel: Kernel | None, ends: Mapping[Node, int]) -> None:
        """In the memory of an operand that dies here, or in a block of its own."""
        inputs = node.inputs
        if kernel is not None:
            for position in kernel.inplace:
                operand = inputs[position]
                slot = self.slot.get(operand)
                if slot is None or ends[operand] != k or self.types[operand] != self.types[node]:
                    continue
                others = [p for p, i in enumerate(inputs) if p != position and self.root[i] is operand]
                if others and not (len(kernel.calls) == 1 and all(inputs[p] is operand and p in kernel.inplace for p in others)):
                    continue
                self.slot[node] = slot
                block = self.blocks[slot]
                self.blocks[slot] = Block(block.first, max(block.last, ends[node]), block.nbytes)
                self.holders[slot].append(node)
                return
        self.slot[node] = self._new_block(k, ends[node], nbytes_of(self.types[node]), node)


COPY = Kernel((), ())


def live_bytes(blocks: Sequence[Block], steps: int) -> tuple[int, ...]:
    """The sum of the blocks alive at each step."""
    change = [0] * (steps + 2)
    for block in blocks:
        change[block.first] += block.nbytes
        change[min(block.last, steps) + 1] -= block.nbytes
    live, total = [], 0
    for k in range(steps + 1):
        total += change[k]
        live.append(total)
    return tuple(live)


def _aligned(nbytes: int) -> int:
    return (nbytes + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def pack(blocks: Sequence[Block]) -> tuple[list[int], int]:
    """Offsets such that blocks alive at the same time do not overlap, and the total.

    Best fit in order of time; for a few hundred blocks also largest first, and the better of the two.
    """
    by_time = _pack_by_time(blocks)
    if len(blocks) > _PACK_NODES:
        return by_time
    by_size = _pack_by_size(blocks)
    return by_size if by_size[1] < by_time[1] else by_time


def _pack_by_size(blocks: Sequence[Block]) -> tuple[list[int], int]:
    """Largest first, each in the lowest gap among the blocks it meets in time."""
    offsets = [0] * len(blocks)
    placed: list[int] = []
    total = 0
    for k in sorted(range(len(blocks)), key=lambda b: (-blocks[b].nbytes, blocks[b].first)):
        block = blocks[k]
        taken = sorted(
            (offsets[p], offsets[p] + _aligned(blocks[p].nbytes))
            for p in placed
            if blocks[p].first <= block.last and block.first <= blocks[p].last
        )
        start = 0
        size = _aligned(block.nbytes)
        for low, high in taken:
            if low - start >= size:
                break
            start = max(start, high)
        offsets[k] = start
        total = max(total, start + size)
        placed.append(k)
    return offsets, total


def _pack_by_time(blocks: Sequence[Block]) -> tuple[list[int], int]:
    """Best fit among the freed bytes, in order of time; equal sizes are found at once."""
    offsets = [0] * len(blocks)
    arena = _Arena()
    ending: list[tuple[int, int]] = []
    for k in sorted(range(len(blocks)), key=lambda b: blocks[b].first):
        block = blocks[k]
        while ending and ending[0][0] < block.first:
            _, dead = heapq.heappop(ending)
            arena.free(offsets[dead], _aligned(blocks[dead].nbytes))
        offsets[k] = arena.take(_aligned(block.nbytes))
        heapq.heappush(ending, (block.last, k))
    return offsets, arena.top


class _Arena:
    """Free memory as gaps; neighbours merge."""

    def __init__(self) -> None:
        self.top = 0
        self._gaps: list[tuple[int, int]] = []
        self._start: dict[int, int] = {}
        self._end: dict[int, int] = {}

    def take(self, size: int) -> int:
        if not size:
            return 0
        from bisect import bisect_left

        at = bisect_left(self._gaps, (size, -1))
        if at < len(self._gaps):
            gap, offset = self._gaps.pop(at)
            del self._start[offset], self._end[offset + gap]
            if gap > size:
                self._add(offset + size, gap - size)
            return offset
        offset = self.top
        last = self._start_of_last_gap()
        if last is not None:
            offset = last
            self._remove(last, self.top - last)
        self.top = offset + size
        return offset

    def _start_of_last_gap(self) -> int | None:
        return self._end.get(self.top)

    def free(self, offset: int, size: int) -> None:
        if not size:
            return
        after = self._start.get(offset + size)
        if after is not None:
            self._remove(offset + size, after)
            size += after
        before = self._end.get(offset)
        if before is not None:
            self._remove(before, offset - before)
            offset, size = before, offset - before + size
        self._add(offset, size)

    def _add(self, offset: int, size: int) -> None:
        insort(self._gaps, (size, offset))
        self._start[offset] = size
        self._end[offset + size] = offset

    def _remove(self, offset: int, size: int) -> None:
        from bisect import bisect_left

        del self._gaps[bisect_left(self._gaps, (size, offset))]
        del self._start[offset], self._end[offset + size]


Emitter = Callable[[Plan], Any]

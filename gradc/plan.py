"""A plan: the order of the steps, where every value lives, and when its memory is free again. Plain data.

A value lives in the arena (one block of memory, packed by lifetime), or is fed, constant, a view of another
value, a fresh output of each call, or whatever an op without a kernel returned. Of a value that only the loop which
computes it reads, the arena holds one tile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum, auto
from typing import Any, NamedTuple

import numpy as np

from gradc.errors import FeedError
from gradc.foreign import is_own
from gradc.ir import CONSTANT, PLACEHOLDER, Array, Call, Graph, Kernel, Node, concrete_type
from gradc.ordering import dependent_on, greedy_order, greedy_order_from_the_end, peak_of, updates_early
from gradc.packing import Block, live_bytes, pack
from gradc.tiles import Tiling, gather, in_tiles
from gradc.types import TensorType, resolve

_SMALL_BYTES = 1 << 18
_GREEDY_NODES = 4096
_SMALLER_SIZES = (1 << 16, 1 << 10, 64)
_WAITS_PER_NODE = 16


class Home(Enum):
    """Where a value lives."""

    FEED = auto()
    CONSTANT = auto()
    ARENA = auto()
    VIEW = auto()
    OUTPUT = auto()
    UPDATE = auto()
    FRESH = auto()
    TILE = auto()


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
        tilings: the runs of consecutive steps that loops compute tile by tile.
        direct: the updates whose step writes straight into the fed array: node -> placeholder name. Others are copied at the end.
        raises_late: a step may raise when an output has its value already, or a part of it.
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
    tilings: tuple[Tiling, ...]
    direct: dict[Node, str]
    raises_late: bool

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
    tiled: bool = True,
) -> Plan:
    """Plan `graph` for concrete dimensions: results `outputs`, and `updates` (placeholder name, node) written last.

    Where `resident`, every value lives in the arena, feeds and outputs as copies, so that all calls can be bound
    before they run: what a schedule of many small calls wants. Only where `tiled`, loops compute long arrays.
    """
    types, attrs = _concrete(graph, dims)
    layout = _layout_of(graph, dims, types, attrs)
    kernels = {n: _kernel(n, types, attrs.get(n, {})) for n in graph.nodes if n.inputs and not layout.is_view(n)}
    fallible = {n for n, kernel in kernels.items() if may_raise(n, kernel)}
    before = _before_updates(graph, [n for n in graph.nodes if n.inputs], updates, layout, fallible)
    plans = []
    for order in _orders(graph, [node for _, node in outputs], [node for _, node in updates], types, before):
        tilings: list[Tiling] = []
        if tiled and not resident:
            results = {node for _, node in (*outputs, *updates)}
            order, tilings = gather(order, results, before, types, lambda n: _fits_tiles(n, kernels, types, layout))
        asked = graph, dict(dims), tuple(outputs), tuple(updates)
        planner = _Planner(*asked, order, types, attrs, kernels, fallible, tilings, resident)
        plans.append(planner.plan())
    return min(plans, key=lambda plan: plan.arena_bytes)


def _kernel(node: Node, types: Mapping[Node, TensorType], attrs: dict[str, Any]) -> Kernel | None:
    if node.op.view and is_own(node.op):
        return COPY
    return node.op.kernel([types[i] for i in node.inputs], types[node], attrs) if node.op.kernel is not None else None


def _fits_tiles(node: Node, kernels: Mapping[Node, Kernel | None], types: Mapping[Node, TensorType], layout: _Layout) -> bool:
    kernel = kernels.get(node)
    if (
        kernel is None
        or kernel is COPY
        or not node.op.elementwise
        or not in_tiles(kernel, [types[i] for i in node.inputs], types[node])
    ):
        return False
    return all(layout.model(i).flags.c_contiguous for i in node.inputs if i not in kernels and i.op.view)


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


class _CopyNeededError(Exception):
    """No view has that shape."""


class _Model(np.ndarray[Any, Any]):
    """An array of which shape and strides count: its entries are never touched, so that a reshape of it is a view or nothing."""

    def reshape(self, *shape: Any, **options: Any) -> Any:
        try:
            return super().reshape(*shape, **{**options, "copy": False})
        except ValueError:
            raise _CopyNeededError from None


class _Layout:
    """Which results NumPy can make as views, found out on arrays of the same strides."""

    def __init__(self, types: Mapping[Node, TensorType], attrs: Mapping[Node, dict[str, Any]]) -> None:
        self._types = types
        self._attrs = attrs
        self._models: dict[Node, Array] = {}
        self._views: set[Node] = set()
        for node in types:
            if node.op.view and is_own(node.op) and self._has_view(node):
                self._views.add(node)

    def model(self, node: Node) -> Array:
        """An array laid out as the value of `node` will be."""
        found = self._models.get(node)
        if found is None:
            node_type = self._types[node]
            found = self._models[node] = np.empty(node_type.shape, node_type.dtype).view(_Model)
        return found

    def is_view(self, node: Node) -> bool:
        """True when `node` can be a view of its operand. What others declare a view is evaluated, and copied: it may be none."""
        return node in self._views

    def _has_view(self, node: Node) -> bool:
        operand = self.model(node.inputs[0])
        try:
            result = node.op.evaluate(operand, **self._attrs.get(node, {}))
        except _CopyNeededError:
            return False
        if result.size and not np.may_share_memory(result, operand):
            return False
        self._models[node] = result.view(_Model)
        return True


def _layout_of(
    graph: Graph, dims: Mapping[str, int], types: Mapping[Node, TensorType], attrs: Mapping[Node, dict[str, Any]]
) -> _Layout:
    """The layout for `dims`; where no array has so many entries, which is asked for figures only, that for smaller sizes.

    What is a view hangs on how strides follow from each other, and sizes of more than a few entries are all alike in that.
    """
    try:
        return _Layout(types, attrs)
    except (MemoryError, ValueError) as error:  # the latter for what NumPy cannot count
        refused = error
    for most in _SMALLER_SIZES:
        try:
            return _Layout(*_concrete(graph, {name: min(size, most) for name, size in dims.items()}))
        except (MemoryError, ValueError):  # FeedError among them: no value for these
            continue
    raise FeedError(f"graph {graph.name!r} cannot be laid out in memory: {refused}")


# --- order -------------------------------------------------------------------------------------------


def _orders(
    graph: Graph,
    outputs: Sequence[Node],
    updates: Sequence[Node],
    types: Mapping[Node, TensorType],
    before: Mapping[Node, Sequence[Node]],
) -> list[list[Node]]:
    """The orders worth planning: as the nodes were made and, where there are bytes to save, the better greedy one."""
    nodes = [n for n in graph.nodes if n.inputs]
    created = updates_early(nodes, updates, before) if updates else nodes
    if len(nodes) > _GREEDY_NODES:
        return [created]
    kept = set(outputs)
    sizes = {n: 0 if n.op.view or (n in before and n not in kept) else nbytes_of(types[n]) for n in nodes}
    if sum(sizes.values()) <= _SMALL_BYTES:
        return [created]
    greedy = [search(created, outputs, sizes, before) for search in (greedy_order, greedy_order_from_the_end)]
    complete = [order for order in greedy if len(order) == len(nodes)]
    return [created, *sorted(complete, key=lambda order: peak_of(order, outputs, sizes))[:1]]


def _before_updates(
    graph: Graph,
    nodes: Sequence[Node],
    updates: Sequence[tuple[str, Node]],
    layout: _Layout,
    fallible: Collection[Node],
) -> dict[Node, list[Node]]:
    """For each update, what has to run before it: nodes that read the value which it overwrites, and all that might raise.

    A call that raises has then updated nothing. What depends on an update cannot come before it: such an update is copied into
    its array at the end, if that array is still read or something might still raise.
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
    dependent = dependent_on(nodes, [node for _, node in updates])
    awaited = [n for n in nodes if n in fallible and n not in dependent]
    if len(awaited) * len(updates) > _WAITS_PER_NODE * len(nodes):
        awaited = awaited[-1:]  # in the order they were made the last is enough; in another, updates may be copied at the end
    placeholders = graph.placeholders
    found: dict[Node, list[Node]] = {}
    for name, node in updates:
        if node.inputs and name in placeholders:
            before = (*users.get(placeholders[name], ()), *awaited)
            found.setdefault(node, []).extend(u for u in before if u is not node and u not in dependent)
    return found


def may_raise(node: Node, kernel: Kernel | None) -> bool:
    """True where computing `node` by `kernel` can raise for some values of its operands.

    What only evaluates can; so can the functions in kernels that others wrote, but for NumPy's ufuncs, which write where there is
    room. Of these, powers of integers refuse negative exponents.
    """
    if node.op.raises or kernel is None:
        return True
    functions = [call.function for call in kernel.calls]
    dtypes = [t.dtype for t in (node.type, *(i.type for i in node.inputs), *kernel.scratch)]
    if np.power in functions and any(dtype.kind == "i" for dtype in dtypes):
        return True
    return not is_own(node.op) and not all(map(_is_numpy_ufunc, functions))


def _is_numpy_ufunc(function: Any) -> bool:
    return isinstance(function, np.ufunc) and getattr(np, function.__name__, None) is function


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
        kernels: Mapping[Node, Kernel | None],
        fallible: Collection[Node],
        tilings: Sequence[Tiling],
        resident: bool,
    ) -> None:
        self.resident = resident
        self.placeholders = graph.placeholders
        self.graph, self.dims, self.outputs, self.updates = graph, dims, outputs, updates
        self.order, self.types, self.attrs, self.kernels, self.tilings = order, types, attrs, kernels, tilings
        self.fallible = fallible
        self.home: dict[Node, Home] = {}
        self.root: dict[Node, Node] = {}
        self.last: dict[Node, int] = {}
        self.loop: dict[int, tuple[int, int]] = {}
        self.tiling = {node: tiling for tiling in tilings for node in tiling.nodes}
        self.slot: dict[Node, int] = {}
        self.blocks: list[Block] = []
        self.holders: list[list[Node]] = []
        self.offset: dict[Node | int, int] = {}
        self.viewed: dict[Node, set[Node]] = {}

    def plan(self) -> Plan:
        self._find_homes()
        self._find_last_uses()
        self._find_loops()
        direct: dict[Node, str] = {} if self.resident else self._direct_updates()
        steps, scratch, scratch_slots = self._lay_out()
        offsets, arena_bytes = pack(self.blocks)
        for node, slot in self.slot.items():
            self.offset[node] = offsets[slot]
        for number, slot in enumerate(scratch_slots):
            self.offset[number] = offsets[slot]
        return Plan(
            self.graph, self.dims, self.outputs, self.updates, tuple(self.order), tuple(steps), self.home, self.root,
            self.offset, tuple(scratch), self.types, self.attrs, arena_bytes,
            live_bytes(self.blocks, len(self.order)), self.last, tuple(self.blocks), tuple(map(tuple, self.holders)),
            tuple(self.tilings), direct, self._raises_late(),
        )  # fmt: skip

    def _find_homes(self) -> None:
        home, root = self.home, self.root
        for node in self.graph.nodes:
            if node.op is PLACEHOLDER:
                home[node], root[node] = Home.ARENA if self.resident else Home.FEED, node
            elif not node.inputs:
                home[node], root[node] = Home.CONSTANT, node
        owned = {node for _, node in self.outputs}
        for node in self.order:
            if node not in self.kernels:
                home[node], root[node] = Home.VIEW, root[node.inputs[0]]
                continue
            root[node] = node
            if self.resident:
                home[node] = Home.ARENA
            elif self.kernels[node] is None:
                home[node] = Home.FRESH
            else:
                home[node] = Home.OUTPUT if node in owned else Home.ARENA

    def _find_last_uses(self) -> None:
        last, root = self.last, self.root
        for k, node in enumerate(self.order):
            last[root[node]] = k
            for i in node.inputs:
                last[root[i]] = k
        end = len(self.order)
        for _, node in (*self.outputs, *self.updates):
            last[root[node]] = end

    def _find_loops(self) -> None:
        """From where to where each step's loop runs, and what it reads views of; what only the loop reads is a tile."""
        position = {node: k for k, node in enumerate(self.order)} if self.tilings else {}
        for tiling in self.tilings:
            first, last = position[tiling.nodes[0]], position[tiling.nodes[-1]]
            operands = {i for node in tiling.nodes for i in node.inputs}
            viewed = {self.root[i] for i in operands if self.home[i] is Home.VIEW}
            for node in tiling.nodes:
                self.viewed[node] = viewed
                self.loop[position[node]] = first, last
                if self.home[node] is Home.ARENA and self.last[node] <= last:
                    self.home[node] = Home.TILE

    def _span(self, node: Node, first: int) -> tuple[int, int]:
        """From where to where the memory of a value that is computed at `first` is in use: a loop reads it to its end."""
        last = self.last.get(node, first)
        if self.home[node] is Home.TILE:
            return first, last
        return self.loop.get(first, (first, first))[0], self.loop.get(last, (last, last))[1]

    def _last_of_loop(self, k: int) -> int:
        return self.loop.get(k, (k, k))[1]

    def _last_that_may_raise(self) -> int:
        """The last step that may raise, or the end of its loop; -1 where none may."""
        return max((self._last_of_loop(k) for k, node in enumerate(self.order) if node in self.fallible), default=-1)

    def _raises_late(self) -> bool:
        if not self.fallible:
            return False
        written = (self.loop.get(k, (k, k))[0] for k, node in enumerate(self.order) if self.home[node] is Home.OUTPUT)
        return min(written, default=len(self.order)) <= self._last_that_may_raise()

    def _direct_updates(self) -> dict[Node, str]:
        """Update nodes whose step may write straight into the fed array: nothing reads the old value, or raises, afterwards."""
        direct: dict[Node, str] = {}
        owned = {node for _, node in self.outputs}
        position = {node: k for k, node in enumerate(self.order)}
        safe = self._last_that_may_raise()
        for name, node in self.updates:
            target = self.placeholders.get(name)
            if target is None or self.home.get(node) is not Home.ARENA or node in owned:
                continue
            k = position[node]
            if safe >= self.loop.get(k, (k, k))[0] or self.last.get(target, -1) > k or not self._may_overwrite(node, target):
                continue
            direct[node] = name
            self.home[node] = Home.UPDATE
        return direct

    def _may_overwrite(self, node: Node, target: Node) -> bool:
        """True when computing `node` into the memory of `target` cannot spoil an operand still to be read."""
        kernel = self.kernels[node]
        if target in self.viewed.get(node, ()):
            return False  # each round of the loop reads some of it, and not the part that it writes
        uses = [k for k, i in enumerate(node.inputs) if self.root[i] is target]
        if not uses or kernel is None:
            return kernel is not None
        same = all(node.inputs[k] is target and k in kernel.inplace for k in uses)
        return same and (len(uses) == 1 or len(kernel.calls) == 1) and self.types[target] == self.types[node]

    def _lay_out(self) -> tuple[list[Step], list[TensorType], list[int]]:
        steps: list[Step] = []
        scratch: list[TensorType] = []
        scratch_slots: list[int] = []
        if self.resident:
            for node in self.placeholders.values():
                self.slot[node] = self._new_block(0, self.last.get(node, 0), self.types[node], node)
        for k, node in enumerate(self.order):
            home = self.home[node]
            if home is Home.VIEW:
                continue
            kernel = self.kernels[node]
            numbers: tuple[int, ...] = ()
            if kernel is not None and kernel.scratch:
                numbers = tuple(range(len(scratch), len(scratch) + len(kernel.scratch)))
                for scratch_type in kernel.scratch:
                    tiling = self.tiling.get(node)
                    scratch.append(tiling.block_type(scratch_type) if tiling is not None else scratch_type)
                    scratch_slots.append(self._new_block(k, k, scratch[-1], node))
            if home is Home.ARENA or home is Home.TILE:
                self._place(node, k, kernel)
            steps.append(Step(node, kernel, numbers))
        return steps, scratch, scratch_slots

    def _new_block(self, first: int, last: int, value: TensorType, holder: Node) -> int:
        self.blocks.append(Block(first, last, nbytes_of(value)))
        self.holders.append([holder])
        return len(self.blocks) - 1

    def _place(self, node: Node, k: int, kernel: Kernel | None) -> None:
        """In the memory of an operand that dies here, or in a block of its own."""
        inputs = node.inputs
        first, last = self._span(node, k)
        tile = self.home[node] is Home.TILE
        if kernel is not None:
            for position in kernel.inplace:
                operand = inputs[position]
                slot = self.slot.get(operand)
                if slot is None or self.last[operand] != k or self.types[operand] != self.types[node]:
                    continue
                if tile != (self.home[operand] is Home.TILE) or operand in self.viewed.get(node, ()):
                    continue
                others = [p for p, i in enumerate(inputs) if p != position and self.root[i] is operand]
                if others and not (len(kernel.calls) == 1 and all(inputs[p] is operand and p in kernel.inplace for p in others)):
                    continue
                self.slot[node] = slot
                block = self.blocks[slot]
                self.blocks[slot] = Block(block.first, max(block.last, last), block.nbytes)
                self.holders[slot].append(node)
                return
        value = self.types[node]
        self.slot[node] = self._new_block(first, last, self.tiling[node].block_type(value) if tile else value, node)


COPY = Kernel((), ())

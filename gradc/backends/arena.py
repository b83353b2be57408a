"""The memory of one program: a block for the arena, and the arrays in it that are made before any call."""

from __future__ import annotations

import numpy as np

from gradc.foreign import is_own, result_of
from gradc.ir import Array, Node
from gradc.packing import ALIGNMENT
from gradc.plan import Home, Plan, nbytes_of
from gradc.types import TensorType


class ArenaArrays:
    """One arena, and the arrays in it that are bound before any call."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        block = np.empty(plan.arena_bytes + ALIGNMENT, np.uint8)
        skip = -block.ctypes.data % ALIGNMENT
        self._arena = block[skip : skip + plan.arena_bytes]
        self._arrays: dict[Node | int, Array] = {}
        self._tilings = {node: tiling for tiling in plan.tilings for node in tiling.nodes}

    def scratch(self, number: int) -> Array:
        return self._in_arena(number, self._plan.scratch[number])

    def tile(self, node: Node) -> Array:
        """The block of memory that a loop computes a value in, part by part."""
        return self._in_arena(node, self._tilings[node].block_type(self._plan.types[node]))

    def value(self, node: Node) -> Array:
        """The array of a value in the arena, of a constant, or of a view of one."""
        found = self._arrays.get(node)
        if found is not None:
            return found
        chain = [node]
        while self._plan.home[node] is Home.VIEW and node.inputs[0] not in self._arrays:
            node = node.inputs[0]
            chain.append(node)
        for link in reversed(chain):
            self._arrays[link] = self._make(link)
        return self._arrays[chain[0]]

    def _make(self, node: Node) -> Array:
        home = self._plan.home[node]
        if home is Home.CONSTANT:
            return self._constant(node)
        if home is Home.ARENA:
            return self._in_arena(node, self._plan.types[node])
        attrs = self._plan.attrs.get(node, {})
        return node.op.evaluate(self._arrays[node.inputs[0]], **attrs)  # type: ignore[no-any-return]

    def _constant(self, node: Node) -> Array:
        """A value without operands, read-only: what wrote into it would change every call after."""
        attrs = self._plan.attrs.get(node, {}) or dict(node.attrs)
        if is_own(node.op):
            value: Array = np.asarray(node.op.evaluate(**attrs)).view()
        else:
            value = result_of(node, self._plan.types[node], (), attrs)
        value.setflags(write=False)
        return value

    def _in_arena(self, key: Node | int, array_type: TensorType) -> Array:
        if not nbytes_of(array_type):
            return np.empty(array_type.shape, array_type.dtype)
        return np.ndarray(array_type.shape, array_type.dtype, self._arena, self._plan.offset[key])

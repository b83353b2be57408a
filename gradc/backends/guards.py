"""What a program checks of its feeds before it runs: any that is not exactly as planned is converted, or refused, elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import combinations
from math import comb
from typing import Any

import numpy as np

from gradc.ir import Array, Node
from gradc.plan import Plan
from gradc.types import TensorType


def guard_lines(plan: Plan, names: Mapping[Node, str], targets: Mapping[str, str], dtype_name: Callable[[Any], str]) -> list[str]:
    """The head of a program, which returns None for feeds that are not exactly as planned.

    Args:
        names: the name of each fed array in the program.
        targets: placeholder -> the name of the array that its update is written to.
        dtype_name: enters a dtype into the program's globals and returns its name there.
    """
    feeds = plan.graph.placeholders
    if not targets.keys() <= feeds.keys():  # what nothing reads is updated all the same: the caller passes its array
        return ["    if not checked:", "        return None"]
    guards = [_type_guard(plan, node, names[node], dtype_name) for node in feeds.values()]
    if targets:
        guards += _update_guards(plan, names, targets)
    lines = [f"        if {guard}:\n            return None" for guard in guards]
    lines += [f"        {u} = {names[feeds[t]]}" for t, u in targets.items()]
    return ["    if not checked:", *lines] if lines else []


def _type_guard(plan: Plan, node: Node, name: str, dtype_name: Callable[[Any], str]) -> str:
    node_type = plan.types[node]
    return (
        f"{name}.__class__ is not ndarray or {name}.dtype is not {dtype_name(node_type.dtype)} "
        f"or {name}.shape != {node_type.shape} or not {name}.flags.c_contiguous"
    )


def _update_guards(plan: Plan, names: Mapping[Node, str], targets: Mapping[str, str]) -> list[str]:
    """Updated arrays are writable and share memory with no other feed: their owners are other objects.

    Arrays that own their memory, as most do, are told apart by a few comparisons, where a few are enough.
    """
    feeds, types = plan.graph.placeholders, plan.types
    updated = {feeds[t]: None for t in targets}
    writeable = [f"not {names[n]}.flags.writeable" for n in updated]
    others = [n for n in feeds.values() if n not in updated]
    first, second = ["".join(f"{names[n]}, " for n in nodes) for nodes in (updated, others)]
    overlap = f"not apart(({first}), ({second}))"
    groups: dict[TensorType, list[Node]] = {}
    for node in feeds.values():
        groups.setdefault(types[node], []).append(node)
    if sum(_pairs(group, updated) for group in groups.values()) > len(feeds):
        return [*writeable, overlap]
    alike = [(a, b) for group in groups.values() for a, b in combinations(group, 2) if a in updated or b in updated]
    same = [f"{names[a]} is {names[b]}" for a, b in alike]
    views = " or ".join(f"{names[n]}.base is not None" for n in feeds.values())
    return [*writeable, *same, f"({views}) and {overlap}"]


def _pairs(group: Sequence[Node], updated: Collection[Node]) -> int:
    """How many pairs of a group have an updated array in them."""
    others = sum(node not in updated for node in group)
    return comb(len(group), 2) - comb(others, 2)


def apart(targets: tuple[Array, ...], others: tuple[Array, ...]) -> bool:
    """True when no target can share memory with another array, as seen from who owns the memory."""
    owners = set()
    for array in targets:
        if array.base is not None:
            return False
        owners.add(id(array))
    if len(owners) < len(targets):
        return False
    for array in others:
        base = array.base
        if base is None:
            base = array
        elif base.__class__ is not np.ndarray or base.base is not None:
            return False
        if id(base) in owners:
            return False
    return True

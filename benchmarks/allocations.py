"""Every byte that NumPy takes for the data of arrays, counted at its source: NumPy's memory handler (NEP 49)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_SET_HANDLER = 304
"""The place of PyDataMem_SetHandler in NumPy's C API, fixed since 1.22."""

_Malloc = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_Calloc = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)
_Realloc = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_Free = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class _Handler(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("context", ctypes.c_void_p),
        ("malloc", _Malloc),
        ("calloc", _Calloc),
        ("realloc", _Realloc),
        ("free", _Free),
    )


class Counter:
    """The bytes of array data alive, and the most that there were at once."""

    def __init__(self) -> None:
        self.live = 0
        self.peak = 0
        self._size: dict[int, int] = {}
        c = ctypes.CDLL(None)
        for name, kinds in {"malloc": (1,), "calloc": (1, 1), "realloc": (0, 1), "free": (0,)}.items():
            function = getattr(c, name)
            function.argtypes = [(ctypes.c_void_p, ctypes.c_size_t)[kind] for kind in kinds]
            function.restype = None if name == "free" else ctypes.c_void_p
        self._c = c
        self.handler = _Handler(
            b"counter", 1, None, _Malloc(self._malloc), _Calloc(self._calloc), _Realloc(self._realloc), _Free(self._free)
        )

    def restart(self) -> None:
        """Count the peak from what is alive now."""
        self.peak = self.live

    def _took(self, address: int | None, size: int) -> int | None:
        if address:
            self._size[address] = size
            self.live += size
            self.peak = max(self.peak, self.live)
        return address

    def _malloc(self, _: Any, size: int) -> int | None:
        return self._took(self._c.malloc(size), size)

    def _calloc(self, _: Any, count: int, size: int) -> int | None:
        return self._took(self._c.calloc(count, size), count * size)

    def _realloc(self, _: Any, address: int | None, size: int) -> int | None:
        self.live -= self._size.pop(address or 0, 0)
        return self._took(self._c.realloc(address, size), size)

    def _free(self, _: Any, address: int | None, __: int) -> None:
        self.live -= self._size.pop(address or 0, 0)
        self._c.free(address)


_kept: list[Any] = []
"""Arrays made under a handler keep its address: it lives as long as the process."""


@contextmanager
def counting() -> Iterator[Counter]:
    """Count what arrays that are made inside hold, until they are freed.

    The handler is a context variable: only what is *bound* inside (a context copied inside, for one) is counted.
    """
    counter = Counter()
    set_handler = _set_handler()
    make_capsule = ctypes.pythonapi.PyCapsule_New
    make_capsule.restype = ctypes.py_object
    make_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    capsule = make_capsule(ctypes.addressof(counter.handler), b"mem_handler", None)
    _kept.append((counter, capsule))
    before = set_handler(capsule)
    try:
        yield counter
    finally:
        set_handler(before)


def _set_handler() -> Callable[[Any], Any]:
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype = ctypes.c_void_p
    get_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    table = get_pointer(np._core._multiarray_umath._ARRAY_API, None)  # type: ignore[attr-defined]
    address = ctypes.cast(table, ctypes.POINTER(ctypes.c_void_p))[_SET_HANDLER]
    return ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(address)

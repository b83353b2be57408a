"""Reading MNIST's IDX files, plain or gzipped, without trusting what their headers claim."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

Array = np.ndarray[Any, Any]
_UNSIGNED_BYTE = 0x08
_PIECE = 1 << 20


class IdxError(ValueError):
    """An IDX file is malformed."""


def parse_mnist(image_file: str | Path, label_file: str | Path) -> tuple[Array, Array]:
    """MNIST images and labels.

    Returns:
        float32 images (n, rows*cols) in [0, 1], and uint8 labels (n,).

    Raises:
        IdxError: a file is missing, malformed, truncated or corrupt, or the counts differ.
    """
    images = read_idx(image_file, rank=3)
    labels = read_idx(label_file, rank=1)
    if len(images) != len(labels):
        raise IdxError(f"{image_file} has {len(images)} images, {label_file} has {len(labels)} labels; they must be a pair")
    pixels = images.reshape(len(images), images.shape[1] * images.shape[2]).astype(np.float32)
    pixels /= np.float32(255)
    return pixels, labels


def read_idx(path: str | Path, rank: int) -> Array:
    """The unsigned bytes of one IDX file, with `rank` axes.

    Raises:
        IdxError: saying which file, what was expected and what came.
    """
    try:
        with open(path, "rb") as raw:
            gzipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.open(raw) if gzipped else raw as stream:
                return _parse(path, stream, rank)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise IdxError(f"{path}: the gzip stream is truncated or corrupt: {error}") from None
    except OSError as error:
        raise IdxError(f"{path}: cannot be read: {error.strerror or error}") from None


def _parse(path: str | Path, stream: BinaryIO | gzip.GzipFile, rank: int) -> Array:
    magic = stream.read(4)
    if len(magic) < 4:
        raise IdxError(f"{path}: {len(magic)} bytes, too few for an IDX header")
    zero, kind, axes = struct.unpack(">HBB", magic)
    if zero or kind != _UNSIGNED_BYTE:
        raise IdxError(f"{path}: magic number 0x{magic.hex()}, expected 0x0000080{rank} (unsigned bytes, {rank} axes)")
    if axes != rank:
        raise IdxError(f"{path}: {axes} axes, expected {rank}; are images and labels swapped?")
    header = stream.read(4 * rank)
    if len(header) < 4 * rank:
        raise IdxError(f"{path}: the header ends after {4 + len(header)} bytes")
    shape = struct.unpack(f">{rank}I", header)
    size = 1
    for s in shape:
        size *= s
    body = _read_at_most(stream, size + 1)
    if len(body) != size:
        got = f"only {len(body)}" if len(body) < size else "more"
        raise IdxError(f"{path}: the header claims {size} bytes of data {shape}, the file has {got}")
    return np.frombuffer(body, np.uint8).reshape(shape)


def _read_at_most(stream: BinaryIO | gzip.GzipFile, count: int) -> bytes:
    """Up to `count` bytes, in pieces: memory grows with what is there, not with what is claimed."""
    body = io.BytesIO()
    while body.tell() < count:
        piece = stream.read(min(_PIECE, count - body.tell()))
        if not piece:
            break
        body.write(piece)
    return body.getvalue()

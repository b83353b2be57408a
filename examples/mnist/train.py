"""Train relu(X @ W1) @ W2 on handwritten digits: one graph holds the forward pass, its adjoints and the updates.

python examples/mnist/train.py [--data DIR] [--hidden 100] [--batch 100] [--step 0.2] [--epochs 10] [--out out]
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from idx import IdxError, parse_mnist

import gradc as gc

Array = np.ndarray[Any, Any]


LISTING = (
    "# A listing of what one step calls, to be read: the arrays and functions that it names are bound where gradc runs it.\n"
)


class Data(NamedTuple):
    """Images as float32 rows in [0, 1], labels as int64."""

    name: str
    train: tuple[Array, Array]
    test: tuple[Array, Array]


class Row(NamedTuple):
    """What one epoch came to: mean losses, and shares of wrong labels."""

    train_loss: float
    train_error: float
    test_loss: float
    test_error: float

    def __str__(self) -> str:
        return (
            f"train loss {self.train_loss:.4f} error {self.train_error:.2%}   "
            f"test loss {self.test_loss:.4f} error {self.test_error:.2%}"
        )


def load(folder: Path | None) -> Data:
    """MNIST's four files, or its two test files split 80/20; scikit-learn's digits without a folder."""
    if folder is None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        order = np.random.default_rng(0).permutation(len(digits.target))  # the file's tail is by other writers
        images = (digits.data / 16).astype(np.float32)
        return _split("scikit-learn's bundled digits, shuffled", images[order], digits.target[order])
    test = _pair(folder, "t10k")
    if _find(folder, "train-images-idx3-ubyte") is None:
        return _split(f"the test half of MNIST in {folder}", *test)
    train = _pair(folder, "train")
    if train[0].shape[1] != test[0].shape[1]:
        raise IdxError(f"{folder}: images of {train[0].shape[1]} pixels to train, of {test[0].shape[1]} to test")
    return Data(f"MNIST in {folder}", train, test)


def _split(name: str, images: Array, labels: Array) -> Data:
    cut = len(images) * 8 // 10
    labels = labels.astype(np.int64)
    return Data(f"{name}: the first 80 % train, the rest tests", (images[:cut], labels[:cut]), (images[cut:], labels[cut:]))


def _find(folder: Path, stem: str) -> Path | None:
    return next((p for p in (folder / stem, folder / f"{stem}.gz") if p.exists()), None)


def _pair(folder: Path, half: str) -> tuple[Array, Array]:
    names = (f"{half}-images-idx3-ubyte", f"{half}-labels-idx1-ubyte")
    paths = [_find(folder, name) for name in names]
    for name, path in zip(names, paths, strict=True):
        if path is None:
            raise IdxError(f"{folder} has no {name} or {name}.gz")
    images, labels = parse_mnist(paths[0] or "", paths[1] or "")
    if len(images) < 5:
        raise IdxError(f"{paths[0]}: {len(images)} images are too few to train and test with")
    return images, labels.astype(np.int64)


def build(pixels: int, hidden: int, classes: int, step: float) -> gc.Graph:
    """The joint graph: loss and error, adjoints of both weights, and the updated weights."""
    g = gc.Graph("mnist")
    x = g.placeholder("x", ("batch", pixels), "float32")
    y = g.placeholder("y", ("batch",), "int64")
    w1 = g.placeholder("w1", (pixels, hidden), "float32")
    w2 = g.placeholder("w2", (hidden, classes), "float32")
    logits = g.output("logits", gc.relu(x @ w1) @ w2)
    g.output("loss", gc.softmax_cross_entropy(logits, y).mean())
    dg = gc.differentiate(g, wrt=[w1, w2], of="loss")
    dg.output("w1_next", w1 - step * dg.grad[w1])
    dg.output("w2_next", w2 - step * dg.grad[w2])
    return dg


def weights(pixels: int, hidden: int, classes: int, seed: int) -> dict[str, Array]:
    """Normal weights of variance 1 / fan-in, float32."""
    rng = np.random.default_rng(seed)
    return {
        "w1": (rng.standard_normal((pixels, hidden)) / np.sqrt(pixels)).astype(np.float32),
        "w2": (rng.standard_normal((hidden, classes)) / np.sqrt(hidden)).astype(np.float32),
    }


def batches(images: Array, labels: Array, size: int) -> Iterator[tuple[Array, Array]]:
    """Batches in file order; the last may be smaller."""
    for start in range(0, len(images), size):
        yield images[start : start + size], labels[start : start + size]


def save_whole(path: Path, arrays: dict[str, Array]) -> None:
    """Write an `.npz` so that a reader sees the old file or the new one, never half."""
    partial = path.with_suffix(".partial.npz")
    try:
        np.savez(partial, **arrays)  # type: ignore[arg-type]
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def noted_interrupts() -> Iterator[list[int]]:
    """Ctrl-C is noted in the list, not raised: the block ends when nothing is half done."""
    noted: list[int] = []
    outer = signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, outer)


def train(options: argparse.Namespace) -> int:
    """Run the training; returns the exit status."""
    from tqdm import tqdm

    data = load(options.data)
    print(f"data: {data.name} ({len(data.train[0])} + {len(data.test[0])})")
    classes = int(max(data.train[1].max(), data.test[1].max())) + 1
    graph = build(data.train[0].shape[1], options.hidden, classes, options.step)
    step = gc.compile(graph, ["loss"], updates={"w1": "w1_next", "w2": "w2_next"})
    measure = gc.compile(graph, ["loss", "logits"])
    w = weights(data.train[0].shape[1], options.hidden, classes, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    history: list[Row] = []
    source = ""
    with noted_interrupts() as interrupted:
        for epoch in range(1, options.epochs + 1):
            for x, y in tqdm(list(batches(*data.train, options.batch)), desc=f"epoch {epoch}", leave=False, disable=None):
                step(x=x, y=y, **w)
                source = source or step.source  # of a whole batch, not of the last one
                if interrupted:
                    break
            if interrupted:
                break
            history.append(Row(*score(measure, data.train, w), *score(measure, data.test, w)))
            save_whole(options.out / "weights.npz", w)
            print(f"epoch {epoch:3}: {history[-1]}", flush=True)
    if interrupted:
        kept = f"the weights of epoch {len(history)} are in {options.out}" if history else "no epoch had finished"
        print(f"interrupted: {kept}")
        return 130
    report(options.out, graph, source, history)
    print(f"test accuracy {1 - history[-1].test_error:.2%}; curve, graph, listing and weights are in {options.out}")
    return 0


def score(measure: gc.Executable, pair: tuple[Array, Array], w: dict[str, Array]) -> tuple[float, float]:
    """Mean loss and the share of wrong labels."""
    out = measure(x=pair[0], y=pair[1], **w)
    return float(out["loss"]), float((out["logits"].argmax(1) != pair[1]).mean())


def report(out: Path, graph: gc.Graph, source: str, history: list[Row]) -> None:
    """The curves, the gradient graph and a listing of the emitted program, as files."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 4), layout="constrained")
    epochs = range(1, len(history) + 1)
    for half, style in (("train", "o-"), ("test", "s-")):
        left.plot(epochs, [getattr(row, f"{half}_loss") for row in history], style, markersize=3, label=half)
        right.plot(epochs, [100 * getattr(row, f"{half}_error") for row in history], style, markersize=3, label=half)
    left.set(xlabel="epoch", ylabel="cross entropy", title="Loss", yscale="log")
    right.set(xlabel="epoch", ylabel="wrong labels, %", title="Error", ylim=(0, None))
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(True, which="both", alpha=0.3)
        axes.legend()
    figure.savefig(out / "loss.png", dpi=120)
    pyplot.close(figure)
    (out / "graph.dot").write_text(graph.to_dot(), encoding="utf-8")
    (out / "step.txt").write_text(f"{LISTING}{source}", encoding="utf-8")
    if shutil.which("dot"):
        subprocess.run(["dot", "-Tsvg", str(out / "graph.dot"), "-o", str(out / "graph.svg")], check=True)
    else:
        print("graph.svg is left out: Graphviz's program `dot`, which draws graph.dot, is not installed")


def _positive(kind: type) -> Any:
    def parse(text: str) -> Any:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
        return value

    parse.__name__ = kind.__name__
    return parse


def integer(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected an integer from 0 on, got {text}")
    return value


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train a two-layer network on handwritten digits with gradc.")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="a folder of MNIST's IDX files; without it, scikit-learn's digits"
    )
    parser.add_argument("--hidden", type=_positive(int), default=100, metavar="N", help="units of the hidden layer (100)")
    parser.add_argument("--batch", type=_positive(int), default=100, metavar="N", help="images of a batch (100)")
    parser.add_argument("--step", type=_positive(float), default=0.2, metavar="X", help="step size (0.2)")
    parser.add_argument("--epochs", type=_positive(int), metavar="N", help="passes over the images (10; digits: 40)")
    parser.add_argument("--seed", type=integer, default=0, metavar="N", help="of the first weights (0)")
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="where the results go (out)")
    options = parser.parse_args(arguments)
    options.epochs = options.epochs or (10 if options.data else 40)
    try:
        return train(options)
    except (IdxError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(
            f"error: this example needs {error.name}: run make mnist, or pip install '.[examples]' in the checkout",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())

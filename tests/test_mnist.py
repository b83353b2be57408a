"""The MNIST example: the IDX reader's errors, and training against hand-written gradients."""

import gzip
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import gradc as gc

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples" / "mnist"))

import idx  # noqa: E402
import train  # noqa: E402

MNIST = ROOT.parent / "shared" / "data" / "mnist"


def encode(array, magic=None):
    head = struct.pack(">HBB", 0, 8, array.ndim) if magic is None else magic
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
LABELS = np.array([7, 1], np.uint8)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_plain_and_gzipped(tmp_path, pack):
    (tmp_path / "i").write_bytes(pack(encode(IMAGES)))
    (tmp_path / "l").write_bytes(pack(encode(LABELS)))
    images, labels = idx.parse_mnist(tmp_path / "i", tmp_path / "l")
    assert images.dtype == np.float32 and images.shape == (2, 12) and labels.dtype == np.uint8
    np.testing.assert_allclose(images * 255, IMAGES.reshape(2, 12), rtol=1e-6)


HUGE = struct.pack(">HBBIII", 0, 8, 3, 1 << 20, 1 << 10, 1 << 10)
BAD = {
    "magic": (b"\x00\x00\x0d\x03" + encode(IMAGES)[4:], "magic number"),
    "rank": (encode(LABELS), "1 axes, expected 3"),
    "too few": (encode(IMAGES)[:-1], "only 23"),
    "too many": (encode(IMAGES) + b"x", "more"),
    "huge": (HUGE, "claims 1099511627776"),
    "gzip of huge": (gzip.compress(HUGE), "claims 1099511627776"),
    "truncated gzip": (gzip.compress(encode(IMAGES))[:-9], "gzip"),
    "corrupt gzip": (gzip.compress(encode(IMAGES))[:14] + b"\xff\xff" + gzip.compress(encode(IMAGES))[16:], "gzip"),
    "empty": (b"", "too few"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_one_clear_error_and_no_memory(tmp_path, name):
    content, text = BAD[name]
    path = tmp_path / "images"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(idx.IdxError, match=text) as caught:
            idx.read_idx(path, 3)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)


def test_counts_must_agree(tmp_path):
    (tmp_path / "i").write_bytes(encode(IMAGES))
    (tmp_path / "l").write_bytes(encode(LABELS[:1]))
    with pytest.raises(idx.IdxError, match="2 images"):
        idx.parse_mnist(tmp_path / "i", tmp_path / "l")


def test_a_missing_file_is_named(tmp_path, capsys):
    assert train.main(["--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert f"error: {tmp_path} has no t10k-images-idx3-ubyte" in capsys.readouterr().err
    with pytest.raises(idx.IdxError, match="cannot be read: No such file"):
        idx.read_idx(tmp_path / "nothing", 3)


def test_too_few_images_are_refused(tmp_path, capsys):
    write_pair(tmp_path, IMAGES, LABELS)
    assert train.main(["--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "2 images are too few" in capsys.readouterr().err


def write_pair(folder, images, labels, half="t10k"):
    (folder / f"{half}-images-idx3-ubyte").write_bytes(encode(images))
    (folder / f"{half}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(encode(labels)))


def random_data(folder, count=400):
    rng = np.random.default_rng(0)
    write_pair(folder, rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count).astype(np.uint8))


def trained(x, y, hidden, size, epochs):
    """The weights after so many epochs."""
    w = train.weights(x.shape[1], hidden, 10, 0)
    step = gc.compile(train.build(x.shape[1], hidden, 10, 0.2), ["loss"], updates={"w1": "w1_next", "w2": "w2_next"})
    for _ in range(epochs):
        for xb, yb in train.batches(x, y, size):
            step(x=xb, y=yb, **w)
    return w


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.1])
def test_an_interrupt_leaves_the_weights_of_the_last_finished_epoch(tmp_path, delay):
    pytest.importorskip("tqdm")
    random_data(tmp_path)
    program = [sys.executable, ROOT / "examples" / "mnist" / "train.py", "--data", tmp_path, "--out", tmp_path / "out"]
    options = ["--hidden", "20", "--batch", "7", "--epochs", "1000000"]
    with subprocess.Popen([*program, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not process.stdout.readline().startswith("epoch   2"):
            assert process.poll() is None
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        said, complained = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in complained
    finished = int(re.search(r"interrupted: the weights of epoch (\d+) are in", said)[1])
    assert finished >= 2 and os.listdir(tmp_path / "out") == ["weights.npz"]
    data = train.load(tmp_path)
    wanted = trained(*data.train, 20, 7, finished)
    with np.load(tmp_path / "out" / "weights.npz") as kept:
        assert sorted(kept) == ["w1", "w2"]
        for name in wanted:
            np.testing.assert_array_equal(kept[name], wanted[name])


def test_a_run_writes_what_it_says(tmp_path, capsys):
    for needed in ("tqdm", "matplotlib"):
        pytest.importorskip(needed)
    random_data(tmp_path, 60)
    out = tmp_path / "out"
    options = ["--data", str(tmp_path), "--out", str(out), "--batch", "13", "--epochs", "3", "--hidden", "8"]
    assert train.main(options) == 0
    said = capsys.readouterr().out
    assert f"the test half of MNIST in {tmp_path}: the first 80 % train, the rest tests (48 + 12)" in said
    assert [line[:9] for line in said.splitlines()[1:4]] == ["epoch   1", "epoch   2", "epoch   3"]
    assert {"loss.png", "graph.dot", "step.txt", "weights.npz"} <= set(os.listdir(out))
    assert (out / "loss.png").read_bytes()[:4] == b"\x89PNG" and "float32[13, 784]" in (out / "step.txt").read_text()
    assert (out / "graph.svg").exists() == bool(shutil.which("dot"))


@pytest.mark.parametrize(("source", "most"), [("digits", 0.05), ("mnist", 0.06)])
def test_it_learns_to_read(source, most, tmp_path, capsys):
    """With the defaults: hidden 100, batch 100, step 0.2; 40 epochs of the bundled digits, 10 of MNIST."""
    for needed in ("tqdm", "matplotlib", "sklearn"):
        pytest.importorskip(needed)
    if source == "mnist" and not MNIST.exists():
        pytest.skip("no ../shared/data/mnist beside this checkout")
    assert train.main(["--out", str(tmp_path), *(["--data", str(MNIST)] if source == "mnist" else [])]) == 0
    accuracy = re.search(r"test accuracy ([\d.]+)%", capsys.readouterr().out)
    assert 1 - float(accuracy[1]) / 100 <= most


def by_hand(x, y, w1, w2, step, size):
    for start in range(0, len(x), size):
        xb, yb = x[start : start + size], y[start : start + size]
        hidden = np.maximum(xb @ w1, 0)
        logits = hidden @ w2
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[np.arange(len(yb)), yb] -= 1
        p /= np.float32(len(yb))
        g2 = hidden.T @ p
        g1 = xb.T @ ((p @ w2.T) * (hidden > 0))
        w1 -= np.float32(step) * g1
        w2 -= np.float32(step) * g2


@pytest.mark.parametrize("source", ["digits", "mnist"])
def test_one_epoch_equals_hand_written_gradients(source):
    if source == "digits":
        pytest.importorskip("sklearn")
    elif not MNIST.exists():
        pytest.skip("no ../shared/data/mnist beside this checkout")
    data = train.load(None if source == "digits" else MNIST)
    x, y = data.train
    ours = train.weights(x.shape[1], 100, 10, 0)
    hand = {name: value.copy() for name, value in ours.items()}
    step = gc.compile(train.build(x.shape[1], 100, 10, 0.2), ["loss"], updates={"w1": "w1_next", "w2": "w2_next"})
    for xb, yb in train.batches(x, y, 100):
        step(x=xb, y=yb, **ours)
    by_hand(x, y, hand["w1"], hand["w2"], 0.2, 100)
    for name in ours:
        assert np.linalg.norm(ours[name] - hand[name]) <= 1e-5 * np.linalg.norm(hand[name])

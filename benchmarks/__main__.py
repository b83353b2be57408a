"""`make bench`, or `python -m benchmarks`: every workload on every side, verified, interleaved, and held against the targets."""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import first, machine, report, steady
from benchmarks.peers import PEERS
from benchmarks.report import Report, Standing, Verdict, duration, size
from benchmarks.worker import SideFailed, Worker
from benchmarks.workloads import STEADY, Workload, workload_named

SECTIONS = ("steady", "first", "chains", "import", "memory")
FIRST_MNIST = {"jax": (0.1, 0.25), "torch.compile warm": (0.1, 0.25), "pytensor warm": (0.1, 0.25)}
FIRST_CHAIN = {"jax": 0.05, "casadi-sx": 4.0, "casadi-mx": None}
IMPORT_LIMIT = 0.040
NOTES = (
    "Every side's numbers are compared with those of the hand-written NumPy after three calls from the same data, before it is "
    "timed: losses, values, gradients and the change of every weight agree within 2e-3 (float32) or 1e-9 (float64) of the "
    "largest entry. A side that differs is not timed, and is listed as missing.",
    "Each framework has a process of its own (gradc and hand-written NumPy share one, and so the BLAS); only one is active at "
    "a time, in an order that is shuffled anew in each round. Every side uses the threads and the kernels that it "
    "chooses itself: variables that pin them are taken out of the environment first.",
    "A figure is the median of the rounds; a ratio is the median of the ratios within each round. A batch starts when the "
    "processors are idle, or after a second (a minute in a run at most): other programs, not results, decide that.",
    '"hand" is NumPy with preallocated buffers, gradients derived by hand, and the bar; "hand-blocked" the same over blocks that '
    "stay in the cache, for comparison. All others are peers, numba too, though it does not differentiate: it compiles loops of "
    "gradients derived by hand.",
    'First gradients are measured in new processes. "warm" means that the framework found what an earlier process left in its '
    "cache on disk; targets are held against those.",
)


def main() -> None:
    """Run what was asked for, print it, and write the files."""
    given = arguments()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    pins = machine.unpin(os.environ)
    started = time.monotonic()
    sides = [
        side for peer in PEERS for side in peer.sides if wanted(side, given.peer) or side in ("gradc", "hand", "hand-blocked")
    ]
    found = Report(
        machine.describe(),
        machine.versions(("gradc", "numpy", *(peer.distribution for peer in PEERS))),
        datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        _command(),
        notes=list(NOTES),
    )
    found.notes += [f"Taken out of the environment: {', '.join(pins)}."] if pins else []
    found.notes += given.note
    complete = given.section == list(SECTIONS) and not given.workload and not given.peer
    given.output = given.output or (Path("docs") if complete else Path("out/benchmarks"))
    for section in given.section:
        RUNS[section](found, sides, given)
        report.write(found, given.output)
    found.notes.append(
        f"The run took {(time.monotonic() - started) / 60:.0f} minutes, "
        f"{machine.waited / 60:.1f} of them waiting for other programs; "
        f"load average at its end {os.getloadavg()[0]:.1f}."
    )
    print("\nBeside the fastest peer\n" + report.as_text(report.standing_rows(found.standings)))
    print(report.summary(found.standings))
    print("\nTargets\n" + report.as_text(report.verdict_rows(found.verdicts)))
    report.write(found, given.output)
    print(f"\nwritten to {given.output}/benchmarks.md, .json and .png")


def _command() -> str:
    """The command of this run, without its remarks."""
    words = [w for k, w in enumerate(sys.argv[1:]) if "--note" not in (w, sys.argv[k])]
    return shlex.join(["python", "-m", "benchmarks", *words])


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--workload", action="append", default=[], metavar="PREFIX", help="only workloads whose name starts so")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME", help="only this peer; gradc and hand always run")
    parser.add_argument("--section", action="append", choices=SECTIONS, help="only this kind of figure")
    parser.add_argument("--rounds", type=int, default=steady.ROUNDS, help="rounds of the interleaved timings")
    parser.add_argument("--cores", type=int, metavar="N", help="keep the run to so many of the cores (Linux)")
    parser.add_argument(
        "--note", action="append", default=[], metavar="TEXT", help="a remark for the page, about the machine say"
    )
    parser.add_argument("--output", type=Path, help="where the files go: docs for a complete run, else out/benchmarks")
    given = parser.parse_args()
    names = [w.name for w in STEADY]
    unknown = [p for p in given.workload if not any(name.startswith(p) for name in names)]
    if unknown or not all(any(wanted(s, [p]) for s in all_sides()) for p in given.peer):
        parser.error(f"the workloads are {', '.join(names)}; the sides are {', '.join(all_sides())}")
    try:
        if given.cores is not None:
            machine.keep_to(given.cores)
    except ValueError as error:
        parser.error(f"--cores: {error}")
    given.section = given.section or (["steady"] if given.workload else list(SECTIONS))
    return given


def all_sides() -> list[str]:
    """Every side of every peer."""
    return [side for peer in PEERS for side in peer.sides]


def wanted(side: str, peers: Iterable[str]) -> bool:
    """True when `side` is asked for by its own name or its peer's, or nothing is asked for."""
    peers = list(peers)
    return not peers or any(side == p or any(side in peer.sides for peer in PEERS if peer.name == p) for p in peers)


def run_steady(found: Report, sides: list[str], given: argparse.Namespace) -> None:
    """Time per call of every workload."""
    workers: dict[str, Worker] = {}
    for workload in STEADY:
        if given.workload and not any(workload.name.startswith(p) for p in given.workload):
            continue
        print(f"\n{workload.title}: building, comparing and timing ...", flush=True)
        timings = steady.measure(workload, sides, workers, given.rounds)
        found.steady.append(timings)
        found.verdicts += report.verdicts_of(timings)
        found.standings += report.standing_of(timings)
        print(report.as_text(report.steady_rows(timings)), flush=True)
        if report.missing_text(timings):
            print("missing:", report.missing_text(timings), flush=True)
        report.write(found, given.output)
    found.tables["Kernels"] = kernel_rows(workers)
    print(f"\nKernels\n{report.as_text(found.tables['Kernels'])}", flush=True)
    for worker in workers.values():
        worker.stop()


def kernel_rows(workers: Mapping[str, Worker]) -> list[Sequence[str]]:
    """Header and rows of what each process computed with."""
    rows: list[Sequence[str]] = [("process of", "BLAS", "other code")]
    for name, worker in workers.items():
        sides = ", ".join(side for peer in PEERS if peer.process == name for side in peer.sides)
        try:
            rows.append((sides, *worker.kernels()))
        except SideFailed as error:
            rows.append((sides, f"unknown: {error}", ""))
    return rows


def run_first(found: Report, sides: list[str], given: argparse.Namespace) -> None:
    """Time to the first gradient of the MNIST step and of the chain."""
    mnist, chain = workload_named("mnist-100-100"), workload_named("chain-3000")
    timed = firsts(
        found, mnist, ["gradc", "jax", "torch", "torch.compile", "torch.compile warm", "pytensor", "pytensor warm"], sides
    )
    found.standings += standings_of(mnist, timed)
    for side, limits in FIRST_MNIST.items():
        ours, theirs = timed.get("gradc"), timed.get(side)
        if ours is None or theirs is None:
            continue
        for what, limit, a, b in zip(
            ("first gradient, import not counted", "python to first gradient"),
            limits, (ours.seconds, ours.whole), (theirs.seconds, theirs.whole), strict=True,
        ):  # fmt: skip
            found.verdicts.append(Verdict(f"{mnist.title}: {what}", duration(a), side, duration(b), a / b, limit))
    timed = firsts(found, chain, ["gradc", "jax", *(s for s in FIRST_CHAIN if s.startswith("casadi"))], sides)
    found.standings += standings_of(chain, timed)
    casadi = [s for s in timed if s.startswith("casadi")]
    fastest = min(casadi, key=lambda s: timed[s].seconds) if casadi else "casadi-sx"
    for side, limit in (("jax", FIRST_CHAIN["jax"]), (fastest, FIRST_CHAIN["casadi-sx"])):
        if "gradc" in timed and side in timed and limit is not None:
            a, b = timed["gradc"].seconds, timed[side].seconds
            found.verdicts.append(Verdict(f"{chain.title}: first gradient", duration(a), side, duration(b), a / b, limit))


def standings_of(workload: Workload, timed: Mapping[str, first.First]) -> list[Standing]:
    """Where gradc stands in first gradients, with and without the import: each beside the peer that is fastest in it."""
    if "gradc" not in timed or len(timed) == 1:
        return []
    found = []
    for what, seconds in (("first gradient, import not counted", "seconds"), ("python to first gradient", "whole")):
        figures = {side: getattr(one, seconds) for side, one in timed.items()}
        ours = figures.pop("gradc")
        best = min(figures, key=lambda side: figures[side])
        row = f"{workload.title}: {what}"
        found.append(Standing(row, duration(ours), best, duration(figures[best]), ours / figures[best]))
    return found


def firsts(found: Report, workload: Workload, names: list[str], sides: list[str]) -> dict[str, first.First]:
    """First gradients of `names`, those that `sides` holds, checked against each other."""
    timed: dict[str, first.First] = {}
    rows: list[tuple[str, ...]] = [
        ("side", "build to first gradient", "all rounds", "python to first gradient", "peak of the process")
    ]
    for name in names:
        if name.split()[0] not in sides:
            continue
        cold = f"{name} warm" in names
        one = first.measure(name, workload, 1 if cold else 7 if name == "gradc" or name.startswith("casadi") else 3)
        if isinstance(one, str):
            rows.append((name, f"missing: {one}", "", "", ""))
            continue
        if "gradc" in timed and not np.isclose(one.number, timed["gradc"].number, rtol=1e-4):
            rows.append((name, f"wrong numbers: {one.number} against {timed['gradc'].number}", "", "", ""))
            continue
        timed[name] = one
        low, high = duration(min(one.building)), duration(max(one.building))
        rows.append((name, duration(one.seconds), f"{low} to {high}", duration(one.whole), size(one.peak_bytes)))
    title = f"First gradient: {workload.title}"
    found.tables[title] = list(rows)
    print(f"\n{title}\n{report.as_text(rows)}", flush=True)
    return timed


def run_chains(found: Report, sides: list[str], given: argparse.Namespace) -> None:
    """gradc's own growth from 10,000 to 100,000 ops."""
    timed = {}
    for ops in (10_000, 100_000):
        for _ in range(3):
            one = first.measure("gradc", workload_named(f"chain-{ops}"), 1)
            if isinstance(one, str):
                raise RuntimeError(one)
            if ops not in timed or one.seconds < timed[ops].seconds:
                timed[ops] = one
    short, long = timed.values()
    a, b = short.seconds, long.seconds
    found.verdicts += [
        Verdict("chain of 100,000 ops: time", duration(b), "10,000 ops", duration(a), b / a, 12),
        Verdict("chain of 100,000 ops: peak", size(long.peak_bytes), "1 GB", size(1e9), long.peak_bytes / 1e9, 1, True),
    ]
    print(f"\nchain of 10,000 ops {duration(a)}, of 100,000 {duration(b)} and {size(long.peak_bytes)}", flush=True)


def run_import(found: Report, sides: list[str], given: argparse.Namespace) -> None:
    """`import gradc` against `import numpy`, in new processes in turn."""
    seconds: dict[str, list[float]] = {"numpy": [], "gradc": []}
    for _ in range(21):
        for name, values in seconds.items():
            machine.wait_until_idle()
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {name}"], check=True)
            values.append(time.perf_counter() - start)
    ours, theirs = median(seconds["gradc"][1:]), median(seconds["numpy"][1:])
    extra = ours - theirs
    found.verdicts.append(
        Verdict("import gradc, over import numpy", duration(extra), "40 ms", duration(IMPORT_LIMIT), extra / IMPORT_LIMIT, 1)
    )
    print(f"\nimport gradc {duration(ours)}, import numpy {duration(theirs)}", flush=True)


def run_memory(found: Report, sides: list[str], given: argparse.Namespace) -> None:
    """Peak bytes of a call: the plan, what NumPy was seen to take, the largest live set, and PyTorch."""
    from benchmarks.memory import peak_of, torch_peak

    rows: list[tuple[str, ...]] = [("workload", "planned", "measured", "off", "largest live set", "torch")]
    for workload in STEADY:
        peak = peak_of(workload)
        theirs = torch_peak(workload) if "torch" in sides and workload.family in ("mnist", "mlp") else None
        shown = "" if theirs is None else size(theirs)
        rows.append((workload.title, size(peak.planned), size(peak.measured), f"{peak.error:.2%}", size(peak.live), shown))
        if workload.family in ("mnist", "mlp"):
            over = peak.measured / peak.live
            title = f"{workload.title}: peak memory"
            found.verdicts.append(Verdict(title, size(peak.measured), "largest live set", size(peak.live), over, 1.1))
            if theirs is not None:
                found.verdicts.append(Verdict(title, size(peak.measured), "torch", size(theirs), peak.measured / theirs, 1, True))
    found.tables["Peak memory of a call"] = list(rows)
    print(f"\nPeak memory of a call\n{report.as_text(rows)}", flush=True)


RUNS = {"steady": run_steady, "first": run_first, "chains": run_chains, "import": run_import, "memory": run_memory}

if __name__ == "__main__":
    multiprocessing.freeze_support()
    main()

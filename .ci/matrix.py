"""`make matrix`: the tests on every Python at hand with the newest packages, and on the oldest one with the oldest core packages.

Each run is `make test` in an environment of its own, made from nothing in .matrix/NAME. It needs nothing but Python itself.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MATRIX = ROOT / ".matrix"
OLDEST_MINOR = 11
NEWEST_MINOR = 30
ASK = "import sys; v = sys.version_info; print(v.minor, v.releaselevel, sys.executable)"


@dataclass(frozen=True)
class Row:
    """One run: its name, its Python, and what pip may install beside the newest."""

    name: str
    python: str
    constraints: tuple[str, ...] = ()


def main() -> int:
    """Run what was asked for, print the table, and fail if any run failed."""
    given = arguments()
    rows = chosen(given)
    if not rows:
        print(f"matrix: no other Python to run; at hand are {', '.join(map(named, sorted(pythons()))) or 'none'}", flush=True)
    results = [(row.name, *run(row, given)) for row in rows]
    for name, code, closing, seconds in results:
        print(f"{name:20} {'passed' if code == 0 else 'FAILED'}  {seconds:5.0f} s  {closing}", flush=True)
    return int(any(code for _, code, _, _ in results))


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="make matrix", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="only this row: python3.12, oldest, ...")
    parser.add_argument("--newest-besides", metavar="PYTHON", help="only the newest Python, where it is another than this one")
    parser.add_argument("--keep", action="store_true", help="use the environments that are there, whatever is newest by now")
    parser.add_argument("tests", nargs="*", help="what pytest is given, after --; all tests if nothing")
    return parser.parse_args()


def chosen(given: argparse.Namespace) -> list[Row]:
    """The rows of the table that were asked for."""
    if given.newest_besides:
        rows = newest_rows()[-1:]
        return [row for row in rows if row.name != named(asked(given.newest_besides)[0])]
    rows = [*newest_rows(), oldest_row()] if pythons() else []
    unknown = set(given.only or ()) - {row.name for row in rows}
    if unknown:
        sys.exit(f"matrix: no row {', '.join(sorted(unknown))}; there are {', '.join(row.name for row in rows)}")
    return [row for row in rows if not given.only or row.name in given.only]


def newest_rows() -> list[Row]:
    """Each Python at hand, oldest first, with the newest packages."""
    return [Row(named(minor), path) for minor, path in sorted(pythons().items())]


def oldest_row() -> Row:
    """The oldest Python at hand with the oldest packages that pyproject.toml allows."""
    return Row("oldest", pythons()[min(pythons())], tuple(oldest_packages()))


def oldest_packages() -> Iterator[str]:
    """The lower bounds of the core packages and of SciPy, as pins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in (*project["dependencies"], *project["optional-dependencies"]["scipy"]):
        name, bound = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement).groups()
        yield f"{name}=={bound}"


def pythons() -> dict[int, str]:
    """The released Pythons 3.11 and later on the path or in pyenv's folder, by minor version."""
    found: dict[int, str] = {}
    for command in candidates():
        minor, release, path = asked(command)
        if release == "final" and minor >= OLDEST_MINOR:
            found.setdefault(minor, path)
    return found


def candidates() -> Iterator[str]:
    """Commands that may be Pythons; pyenv's stand-ins on the path may lead nowhere."""
    yield from (f"python3.{minor}" for minor in range(OLDEST_MINOR, NEWEST_MINOR) if shutil.which(f"python3.{minor}"))
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    yield from map(str, sorted(pyenv.glob("3.*/bin/python3"), reverse=True))


def asked(command: str) -> tuple[int, str, str]:
    """Minor version, release level and path of a Python; minor version 0 where it does not run."""
    answer = subprocess.run([command, "-c", ASK], capture_output=True, text=True)
    if answer.returncode:
        return 0, "", ""
    minor, release, path = answer.stdout.strip().split(" ", 2)
    return int(minor), release, path


def named(minor: int) -> str:
    """python3.12 for 12."""
    return f"python3.{minor}"


def run(row: Row, given: argparse.Namespace) -> tuple[int, str, float]:
    """`make test` for the row: its exit code, pytest's closing line, and the seconds that all took."""
    where = MATRIX / row.name
    if not given.keep:
        shutil.rmtree(where, ignore_errors=True)
    print(f"\nmatrix: {row.name} ({row.python}{''.join(f', {pin}' for pin in row.constraints)})", flush=True)
    start = time.monotonic()
    command = ["make", "--no-print-directory", "test", f"PYTHON={row.python}", f"VENV={where.relative_to(ROOT)}"]
    command.append(f"ARGS={' '.join(given.tests)}")
    code, closing = shown(command, environment(row))
    return code, closing, time.monotonic() - start


def environment(row: Row) -> dict[str, str]:
    """What make is started with: the pins, and nothing that an outer make or a venv would leave it."""
    inherited = {
        k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VIRTUAL_ENV", "PYTHONPATH")
    }
    if not row.constraints:
        return inherited
    pins = MATRIX / f"{row.name}.txt"
    pins.parent.mkdir(exist_ok=True)
    pins.write_text("\n".join(row.constraints) + "\n", encoding="utf-8")
    return {**inherited, "PIP_CONSTRAINT": str(pins)}


def shown(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run the command and show what it prints: its exit code and its last line, but for make's own."""
    last = ""
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = last if line.startswith("make:") else line.strip() or last
    return process.returncode, last


if __name__ == "__main__":
    sys.exit(main())

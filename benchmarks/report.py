"""The figures of a run as text: verdicts against the targets, medians with their spread, a plot, and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers import PEERS
from benchmarks.steady import Timings

PEER_SIDES = tuple(side for peer in PEERS if peer.process != "numpy" for side in peer.sides)
HAND_SIDES = ("hand", "hand-blocked")


@dataclass(frozen=True)
class Verdict:
    """A target: gradc's figure, what it is held against, and the ratio that it may have."""

    row: str
    figure: str
    against: str
    reference: str
    ratio: float
    limit: float
    strict: bool = False

    @property
    def met(self) -> bool:
        """True when the ratio is within the limit (below it, where the target says faster or below)."""
        return self.ratio < self.limit if self.strict else self.ratio <= self.limit


@dataclass(frozen=True)
class Standing:
    """gradc's figure beside that of the fastest peer, and their ratio: above 1, gradc is behind."""

    row: str
    figure: str
    peer: str
    reference: str
    ratio: float

    @property
    def words(self) -> str:
        """Ahead of the peer or behind it, and by how much; what two digits do not tell apart is level."""
        if f"{self.ratio:.2f}" == "1.00":
            return "level"
        return f"BEHIND by {self.ratio:.3g}" if self.ratio > 1 else f"ahead by {1 / self.ratio:.3g}"


@dataclass
class Report:
    """Everything that a run found."""

    machine: dict[str, str]
    versions: dict[str, str]
    date: str
    command: str
    verdicts: list[Verdict] = field(default_factory=list)
    steady: list[Timings] = field(default_factory=list)
    tables: dict[str, list[Sequence[str]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    standings: list[Standing] = field(default_factory=list)


def verdicts_of(timings: Timings) -> list[Verdict]:
    """The steady targets of a workload; those whose reference was not timed are left out."""
    found = []
    for target in timings.workload.targets:
        sides = {"peers": PEER_SIDES}.get(target.against, (target.against,))
        best = timings.fastest(sides)
        if best is None or "gradc" not in timings.rounds:
            continue
        ratio, ours, theirs = timings.ratio("gradc", best), timings.seconds("gradc"), timings.seconds(best)
        strict = target.against not in ("hand", "jax")
        name = f"{best} (the fastest peer)" if target.against == "peers" else best
        title = f"{timings.workload.title}, per call"
        found.append(Verdict(title, duration(ours), name, duration(theirs), ratio, target.limit, strict))
    return found


def standing_of(timings: Timings) -> list[Standing]:
    """Where gradc stands in a workload: beside its fastest peer, where both were timed."""
    best = timings.fastest(PEER_SIDES)
    if best is None or "gradc" not in timings.rounds:
        return []
    figures = duration(timings.seconds("gradc")), best, duration(timings.seconds(best))
    return [Standing(f"{timings.workload.title}, per call", *figures, timings.ratio("gradc", best))]


def summary(standings: Sequence[Standing]) -> str:
    """In how many rows gradc leads its fastest peer, and every row in which it does not, the worst first."""
    behind = sorted((s for s in standings if s.words.startswith("BEHIND")), key=lambda s: -s.ratio)
    level = sum(s.words == "level" for s in standings)
    counts = f"gradc is ahead of the fastest peer in {len(standings) - len(behind) - level} of {len(standings)} rows"
    counts += f", level with it in {level}" if level else ""
    if not behind:
        return f"{counts}, and behind in none."
    rows = "; ".join(f"{s.peer} by {s.ratio:.3g} ({s.row})" for s in behind)
    return f"{counts}, and behind in {len(behind)}: behind {rows}."


def standing_rows(standings: Iterable[Standing]) -> list[Sequence[str]]:
    """Header and rows of the table of standings."""
    head = ("workload", "gradc", "fastest peer", "its figure", "gradc is")
    return [head, *((s.row, s.figure, s.peer, s.reference, s.words) for s in standings)]


def duration(seconds: float) -> str:
    """Seconds for people."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds / size < 1000 else f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def size(nbytes: float) -> str:
    """Bytes for people."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= factor:
            return f"{nbytes / factor:.4g} {unit}"
    return f"{nbytes:.0f} B"


def verdict_rows(verdicts: Iterable[Verdict]) -> list[Sequence[str]]:
    """Header and rows of the table of targets."""
    rows: list[Sequence[str]] = [("workload", "gradc", "against", "its figure", "ratio", "reach", "")]
    for v in verdicts:
        reach = f"{'<' if v.strict else '<='} {v.limit:.3g}"
        ratio = f"{v.ratio:.2f}" if v.ratio >= 0.1 else f"{v.ratio:.2g}"
        rows.append((v.row, v.figure, v.against, v.reference, ratio, reach, "met" if v.met else "NOT MET"))
    return rows


def steady_rows(timings: Timings) -> list[Sequence[str]]:
    """Header and rows of one workload: each side, fastest first."""
    rows: list[Sequence[str]] = [("side", "median", "10 % to 90 %", "gradc / side")]
    for side in sorted(timings.rounds, key=timings.seconds):
        low, high = timings.spread(side)
        ratio = f"{timings.ratio('gradc', side):.2f}" if "gradc" in timings.rounds else ""
        rows.append((side, duration(timings.seconds(side)), f"{duration(low)} to {duration(high)}", ratio))
    return rows


def missing_text(timings: Timings) -> str:
    """Why sides are missing from a workload, those that just cannot express it apart."""
    reasons = {side: reason for side, reason in timings.missing.items() if "not expressed" not in reason}
    return "; ".join(f"{side}: {reason}" for side, reason in reasons.items())


def as_text(rows: Sequence[Sequence[str]]) -> str:
    """A table for a terminal."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table for the docs."""
    cells = [[cell.replace("|", r"\|").replace("<", r"\<") for cell in row] for row in rows]
    head, *body = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def markdown(report: Report) -> str:
    """The page docs/benchmarks.md."""
    met = sum(v.met for v in report.verdicts)
    lines = [
        "# Benchmarks",
        "",
        f"Written by `{report.command}` on {report.date}. {met} of {len(report.verdicts)} targets met.",
        "",
        *(f"- {name}: {value}" for name, value in report.machine.items()),
        f"- versions: {', '.join(f'{name} {value}' for name, value in report.versions.items())}",
        "",
        *(f"- {note}" for note in report.notes),
        "",
        "## Beside the fastest peer",
        "",
        summary(report.standings),
        "",
        as_markdown(standing_rows(report.standings)),
        "",
        "## Targets",
        "",
        as_markdown(verdict_rows(report.verdicts)),
        "",
        "![gradc against every side](benchmarks.png)",
        "",
        "## Time per call",
        "",
    ]
    for timings in report.steady:
        lines += [f"### {timings.workload.title}", "", as_markdown(steady_rows(timings)), ""]
        if missing_text(timings):
            lines += [f"Missing: {missing_text(timings)}.", ""]
    for title, rows in report.tables.items():
        lines += [f"## {title}", "", as_markdown(rows), ""]
    return "\n".join(lines)


def write(report: Report, folder: Path) -> None:
    """benchmarks.md, benchmarks.json and benchmarks.png in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmarks.md").write_text(markdown(report), encoding="utf-8")
    (folder / "benchmarks.json").write_text(json.dumps(as_json(report), indent=1) + "\n", encoding="utf-8")
    if report.steady:
        plot(report.steady, folder / "benchmarks.png")


def as_json(report: Report) -> dict[str, Any]:
    """All figures, every round of them."""
    return {
        **{name: getattr(report, name) for name in ("date", "command", "machine", "versions", "notes")},
        "standings": [asdict(s) for s in report.standings],
        "targets": [{**asdict(v), "met": v.met} for v in report.verdicts],
        "steady": {
            t.workload.name: {
                "seconds": {side: [float(f"{s:.4g}") for s in rounds] for side, rounds in t.rounds.items()},
                "missing": t.missing,
            }
            for t in report.steady
        },
        "tables": report.tables,
    }


def plot(steady: Sequence[Timings], path: Path) -> None:
    """Time per call of every side relative to gradc's: right of the line is slower than gradc."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    shown = [t for t in steady if "gradc" in t.rounds][::-1]
    figure, axes = pyplot.subplots(figsize=(10, 1.2 + 0.45 * len(shown)), layout="constrained")
    colours = {side: f"C{k % 10}" for k, side in enumerate(PEER_SIDES)}
    labelled: set[str] = set()
    for y, timings in enumerate(shown):
        for side in (s for s in timings.rounds if s != "gradc"):
            hand = side in HAND_SIDES
            style = {"marker": "|" if hand else "o", "s": 220 if hand else 40, "color": "black" if hand else colours[side]}
            label = None if side in labelled else side
            labelled.add(side)
            axes.scatter(1 / timings.ratio("gradc", side), y, label=label, alpha=0.85, **style)
    axes.axvline(1, color="grey", linewidth=1)
    axes.set(xscale="log", xlabel="time per call relative to gradc (right of the line: slower than gradc)")
    axes.set_yticks(range(len(shown)), [t.workload.title for t in shown])
    axes.grid(axis="x", which="both", alpha=0.25)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)

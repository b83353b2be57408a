"""The direction of imports: data flows build -> differentiate -> optimise -> plan -> emit -> run, and so do imports."""

import ast
from pathlib import Path

import pytest

import gradc

ROOT = Path(gradc.__file__).parent

HOUSE = (
    "errors",
    "sizes",
    "types",
    "ir",
    "foreign",
    "matching",
    "ops",
    "numpy_api",
    "forms",
    "differentiate",
    "feeds",
    "interpret",
    "analysis",
    "passes",
    "ordering",
    "packing",
    "tiles",
    "plan",
    "backends",
    "measure",
    "runtime",
    "show",
    "testing",
    "registry",
    "plugin",
)
"""From the ground up: a file imports only from the lines before its own, or from its own package."""

ON_CALL = {("ir", "runtime"), ("ir", "analysis"), ("ir", "show")}
"""`Graph.compile`, `.to_networkx`, `.to_dot` and `.to_text` are shorthands for functions further up. They import those
when they are called, so that `import gradc.ir` still needs nothing above it."""

HEAVY = {"networkx", "sympy", "scipy", "matplotlib"}
"""What costs more to import than gradc itself: imported in the functions that need it."""

FILES = sorted(ROOT.rglob("*.py"))


def module(path):
    parts = ("gradc", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path) for path in FILES}


def line(name):
    """The line of the house that a module stands on; None for `gradc` itself."""
    return name.split(".")[1] if "." in name else None


def imports(path):
    """(imported module, when, line number) of every import of gradc or of something heavy: at import, on call, for types."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    pending = [(node, "import") for node in tree.body]
    for node, when in pending:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            when = "call"
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending += [(n, "types") for n in node.body] + [(n, when) for n in node.orelse]
            continue
        for name in imported(node):
            yield name, when, node.lineno
        pending += [(n, when) for n in ast.iter_child_nodes(node)]


def imported(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"a relative import, line {node.lineno}: write the whole name"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        return [name if name in MODULES else node.module for name in names]
    return []


def of_gradc(path):
    return [found for found in imports(path) if found[0].split(".")[0] == "gradc"]


@pytest.mark.parametrize("path", [p for p in FILES if p.parent != ROOT or p.name != "__init__.py"], ids=module)
def test_a_file_imports_only_from_below(path):
    own = line(module(path))
    assert own in HOUSE, f"{path.name} has no line in the house: give it one"
    for name, when, number in of_gradc(path):
        where = f"{path.relative_to(ROOT)}:{number} imports {name}"
        assert name in MODULES, f"{where}, which does not exist"
        assert line(name), f"{where}: gradc itself is above everything"
        if when != "import" and (own, line(name)) in ON_CALL:
            continue
        assert HOUSE.index(line(name)) <= HOUSE.index(own), f"{where}, which is above it"


def test_no_cycle_inside_a_package():
    below = {module(p): {name for name, _, _ in of_gradc(p)} - {module(p)} for p in FILES if p.parent != ROOT}
    while below:
        free = {name for name, needs in below.items() if not needs & below.keys()}
        assert free, f"a cycle among {sorted(below)}"
        below = {name: needs for name, needs in below.items() if name not in free}


@pytest.mark.parametrize("path", FILES, ids=module)
def test_heavy_packages_are_imported_where_they_are_used(path):
    at_import = [f"{name}, line {n}" for name, when, n in imports(path) if when == "import" and name.split(".")[0] in HEAVY]
    assert not at_import


def test_the_exceptions_are_needed():
    used = {(line(module(p)), line(name)) for p in FILES for name, when, _ in of_gradc(p) if when != "import"}
    assert used >= ON_CALL

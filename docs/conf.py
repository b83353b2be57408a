"""Sphinx reads this: `make docs`. Warnings are errors there."""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import gradc as gc
from gradc import ops
from gradc.ir import FUNCTIONS, Op

project = "gradc"
author = "The gradc developers"
copyright = "The gradc developers, BSD-3-Clause"
version = release = gc.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"gradc {release}"
myst_heading_anchors = 3
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_use_rtype = False


def setup(app: Any) -> None:
    """Have the page of ops filled from the registry, and docstrings read as they are meant."""
    app.connect("source-read", fill_ops)
    app.connect("autodoc-process-docstring", as_text)
    app.connect("autodoc-skip-member", skip_fields)


def as_text(app: Any, kind: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Outside of backticks `|x|`, `*args` and `x_` are just that in our docstrings, no markup."""
    for k, line in enumerate(lines):
        parts = line.split("`")
        parts[::2] = [re.sub(r"\||\*(?=\S)|_(?=\W|$)", r"\\\g<0>", part) for part in parts[::2]]
        lines[k] = "`".join(parts)


def skip_fields(app: Any, kind: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """True for the fields of named tuples, which say nothing of themselves; None leaves the others to Sphinx."""
    return True if str(getattr(member, "__doc__", "")).startswith("Alias for field number") else None


def fill_ops(app: Any, page: str, source: list[str]) -> None:
    """Append to `ops.md` every public op, by family: a new declaration appears by itself."""
    if page == "ops":
        source[0] += "\n".join(line for title, names in families() for line in family(title, names))


def families() -> Iterator[tuple[str, list[str]]]:
    """The first line of each module of ops, and the public functions that the module declares."""
    modules = [module for module in vars(ops).values() if inspect.ismodule(module) and hasattr(module, "__all__")]
    left = dict.fromkeys(ops.__all__)
    for module in modules:
        aliases = [name for name in left if vars(module).get(f"{name}_") is getattr(ops, name)]
        names = sorted({*module.__all__, *aliases} & left.keys())
        yield (module.__doc__ or module.__name__).strip().splitlines()[0], names
        for name in names:
            del left[name]
    if left:
        raise LookupError(f"docs: no module of gradc.ops has {', '.join(left)}")


def family(title: str, names: list[str]) -> Iterator[str]:
    """A section: what it holds, then each function."""
    yield from ("", f"## {title.rstrip('.')}", "", "```{eval-rst}")
    for name in names:
        function = getattr(ops, name)
        yield from declared(name, function) if isinstance(function, Op) else (f".. autofunction:: gradc.{name}", "")
    yield from ("```", "")


def declared(name: str, op: Op) -> Iterator[str]:
    """A declared op has no docstring: what it is follows from its declaration."""
    count = len(FUNCTIONS[name].samples()[0].arrays) if FUNCTIONS[name].samples else len(op.vjp or "a")
    operands = ", ".join("abcdefgh"[:count])
    yield from (f".. py:function:: gradc.{name}({operands})", "")
    numpy = [f"`np.{function.__name__}`" for function in FUNCTIONS[name].numpy]
    meaning = [" and ".join(numpy)] if numpy else []
    if op.symbolic:
        meaning.append(f"``{op.symbolic}``")
    yield from (f"   {': '.join(meaning) or name}.", "")

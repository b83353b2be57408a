"""The documentation: every Python block of the README and of docs/ runs, and prints what the page says it prints.

The blocks of a page are one program. A block of text right after a block of Python is what that printed, where `...` stands for
anything; where the block raises, the last of it is the exception. The picture of the tutorial is what its program draws.

`python tests/test_docs.py` writes the output of today into the pages, where it differs, and renews the picture.
"""

import doctest
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
import xml.etree.ElementTree as ElementTree
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest

import gradc as gc

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(p for p in DOCS.rglob("*.md") if "_build" not in p.parts)]
FENCE = re.compile(r"^(```+)([^\n`]*)\n(.*?)^\1 *\n", re.MULTILINE | re.DOTALL)
PYTHON = ("python", "py", "pycon", "python3", "{code-block} python", "{code-block} pycon")
PICTURE = DOCS / "textbook.svg"
PARTS = ".. autoexception:: gradc.GradcError\n"
"""Public names with a page of their own: errors.md."""


class Block(NamedTuple):
    """A fenced block: its language, its text, and the place of the text in the page."""

    kind: str
    text: str
    span: tuple[int, int]
    follows: bool
    """Nothing but empty lines is between the block before and this one."""


def blocks(page):
    found, end = [], 0
    for match in FENCE.finditer(page):
        found.append(Block(match[2].strip(), match[3], match.span(3), bool(found) and not page[end : match.start()].strip()))
        end = match.end()
    return found


def program(page):
    """The Python blocks of a page, each with the block of its output or None."""
    found = blocks(page)
    pairs = zip(found, [*found, None][1:], strict=True)
    return [(b, after if after and after.follows and after.kind == "text" else None) for b, after in pairs if b.kind in PYTHON]


def run(page, name):
    """What each Python block prints; the program as a file `name` would have the same line numbers."""
    scope, line, printed = {"__name__": "__main__"}, 0, []
    for block, output in program(page):
        with redirect_stdout(StringIO()) as stream:
            try:
                execute("\n" * line + block.text, name, scope)
            except Exception as error:
                if output is None:
                    raise
                print(f"{type(error).__name__}: {error}")
        printed.append(stream.getvalue())
        line += block.text.count("\n") + 1
    return printed


def execute(text, name, scope):
    if not text.lstrip().startswith(">>>"):
        exec(compile(text, name, "exec"), scope)
        return
    test = doctest.DocTestParser().get_doctest(text, scope, name, name, 0)
    report = []
    if doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append, clear_globs=False).failed:
        raise AssertionError("".join(report))
    scope.update(test.globs)


def printed(page, name, folder):
    """As `run`, in a process and a folder of its own: the ops that a page declares stay there."""
    command = [sys.executable, "-W", "error", __file__, "--run", name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    done = subprocess.run(command, input=page, capture_output=True, text=True, cwd=folder, env=environment, timeout=900)
    assert done.returncode == 0, f"{name} does not run:\n{done.stderr}"
    return json.loads(done.stdout)


def same(wanted, got):
    return doctest.OutputChecker().check_output(wanted, got, doctest.ELLIPSIS)


def differences(page, outputs):
    """(block of output, what is printed today) where the two differ."""
    pairs = zip(program(page), outputs, strict=True)
    return [(output, got) for (_, output), got in pairs if output is not None and not same(output.text, got)]


def read(path):
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_runs_and_prints_what_it_says(path, tmp_path):
    page = read(path)
    if "import scipy" in page or "from scipy" in page:
        pytest.importorskip("scipy")
    wrong = differences(page, printed(page, f"{path.stem}.py", tmp_path))
    shown = "\n".join(f"the page says\n{output.text}\nand this is printed\n{got}" for output, got in wrong)
    assert not wrong, f"{shown}\n`python tests/test_docs.py` writes today's output into the pages"
    if path.stem == "tutorial":
        check_picture(read(tmp_path / "textbook.dot"))


# --- the picture -----------------------------------------------------------------------------------------


def draw(program):
    return subprocess.run(["dot", "-Tsvg"], input=program, capture_output=True, text=True, check=True, timeout=60).stdout


def contents(svg):
    """What a picture shows, without coordinates, which differ from one version of dot to the next."""
    shapes = ("text", "title", "path", "ellipse", "polygon", "a")
    elements = [e for e in ElementTree.fromstring(svg).iter() if e.tag.rpartition("}")[2] in shapes]
    tooltip = "{http://www.w3.org/1999/xlink}title"
    return sorted((e.text or "").strip() or e.get("fill") or e.get(tooltip, "") for e in elements)


def check_picture(program):
    if not shutil.which("dot") and not os.environ.get("CI"):
        pytest.skip("graphviz is not installed: the picture of the tutorial cannot be compared")
    assert contents(draw(program)) == contents(read(PICTURE)), "renew the picture: python tests/test_docs.py"


# --- the test itself -------------------------------------------------------------------------------------


def page_of(*lines):
    return "\n".join([*lines, ""])


GOOD = page_of("# A page", "```python", "x = 1", "print(x, 'to', 3)", "```", "", "```text", "1 to ...", "```")
RAISES = page_of("```python", "print('first')", "raise ValueError('no')", "```", "```text", "first", "ValueError: no", "```")
CONSOLE = page_of(
    "```python", "x = 2", "```", "and", "```pycon", ">>> x + 1", "3", ">>> y = 5", "```", "```python", "print(y)", "```"
)


@pytest.mark.parametrize(
    "page", [GOOD, RAISES, CONSOLE, GOOD.replace("```", "````"), GOOD.replace("python", "{code-block} python")]
)
def test_a_good_page(page, tmp_path):
    assert not differences(page, printed(page, "page.py", tmp_path))


@pytest.mark.parametrize("page", [GOOD.replace("...", "4"), RAISES.replace(": no", ": yes")])
def test_a_page_that_says_something_else(page, tmp_path):
    outputs = printed(page, "page.py", tmp_path)
    assert len(differences(page, outputs)) == 1
    assert not differences(renewed(page, outputs), outputs)


UNDEFINED = page_of("text", "```python", "x = 1", "", "```", "```python", "nothing", "```")
BAD = {
    "a console": (CONSOLE.replace("\n3\n", "\n4\n"), r"Expected:\s+4\s+Got:\s+3"),
    "a name": (UNDEFINED, r'File "page.py", line 4, in <module>(.|\n)*NameError'),
    "an error nobody shows": (RAISES[: RAISES.index("```text")], "ValueError: no"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_page_that_does_not_run(name, tmp_path):
    page, complaint = BAD[name]
    with pytest.raises(AssertionError, match=complaint):
        printed(page, "page.py", tmp_path)


def test_every_page_is_there():
    assert {"index", "tutorial", "compiling", "api", "ops", "own_ops", "testing", "conventions"} <= {p.stem for p in PAGES}


def test_every_public_name_is_in_the_reference():
    """The ops are: `conf.py` lists them from the registry."""
    page = read(DOCS / "api.md")
    assert not [name for name in gc.__all__ if name not in gc.ops.__all__ and f":: gradc.{name}\n" not in page + PARTS]


# --- the command -----------------------------------------------------------------------------------------


def renewed(page, outputs):
    """The page with today's output."""
    for output, got in reversed(differences(page, outputs)):
        start, end = output.span
        page = page[:start] + got + page[end:]
    return page


def main(arguments):
    if arguments[:1] == ["--run"]:
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="mpmath")  # as in pyproject.toml
        print(json.dumps(run(sys.stdin.read(), arguments[1])))
        return
    for path in PAGES:
        with tempfile.TemporaryDirectory() as folder:
            page = read(path)
            text = renewed(page, printed(page, f"{path.stem}.py", folder))
            if text != page:
                path.write_text(text, encoding="utf-8")
                print(f"renewed {path.relative_to(ROOT)}")
            drawing = Path(folder) / "textbook.dot"
            if drawing.exists() and not (PICTURE.exists() and contents(draw(read(drawing))) == contents(read(PICTURE))):
                PICTURE.write_text(draw(read(drawing)), encoding="utf-8")
                print(f"renewed {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1:])

"""The registry in figures, and the page of conventions that is made of it."""

from pathlib import Path

import pytest

import gradc as gc
from gradc import registry, testing
from gradc.ir import FUNCTIONS

PAGE = Path(__file__).parent.parent / "docs" / "conventions.md"


@pytest.fixture(scope="module")
def counted():
    return registry.count()


def test_the_count(counted, capsys):
    differentiable = [f for f in FUNCTIONS.values() if f.differentiable and f.samples is not None]
    assert counted.differentiable <= len(differentiable) <= counted.functions == len(FUNCTIONS)
    assert counted.edges == sum(len(f.edges) for f in FUNCTIONS.values())
    assert counted.gradient_samples == sum(testing.gradient_samples(f) for f in differentiable)
    assert str(counted).startswith(f"{counted.differentiable} differentiable functions, of {counted.functions} in all; ")


def test_there_are_enough(counted):
    assert counted.differentiable >= 130
    assert counted.gradient_samples >= 20 * counted.differentiable


def test_the_page_of_conventions_is_up_to_date():
    made = registry.conventions()
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != made:
        pytest.fail(f"docs/conventions.md is not what the declarations say; renew it: {registry.RENEWAL}")


def test_the_page_has_every_edge():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    for function in FUNCTIONS.values():
        assert sum(line.startswith(f"| `{function.name}` | ") for line in rows) >= len(function.edges)
    assert "| `sqrt` | 0 | 0 | ∞ | the domain's end |" in rows
    assert "| `maximum` | 1, 1 | 1 | 0.5, 0.5 | a tie shares equally |" in rows
    assert "| `power` | 0, 0 | 1 | 0, 0 | both slopes of least norm |" in rows


SINGULAR = {
    "kinks": "abs fabs relu relu6 maximum minimum fmax fmin clip leaky_relu elu selu hard_sigmoid hard_silu copysign max",
    "steps": "sign floor ceil trunc rint round fix heaviside remainder fmod floor_divide",
    "ends of domains": "sqrt cbrt log log2 log10 log1p arcsin arccos arctanh arccosh logit xlogy xlog1py",
    "poles and the origin": "divide reciprocal power float_power hypot arctan2 sinc lgamma digamma",
    "replacement": "where nan_to_num",
}


@pytest.mark.parametrize("kind", SINGULAR)
def test_what_is_singular_has_conventions(kind):
    assert all(FUNCTIONS[name].edges for name in SINGULAR[kind].split())


def test_every_elementwise_function_of_reals_says_what_it_does_with_nan_or_infinity():
    smooth_or_linear = {"negative", "positive", "rad2deg", "deg2rad", "ldexp", "conjugate", "astype", "stop_gradient"}
    for name, function in FUNCTIONS.items():
        op = function.build
        if not isinstance(op, type(gc.tanh)) or not op.elementwise or not function.differentiable or name in smooth_or_linear:
            continue
        inputs = {repr(v) for edge in function.edges for v in edge.inputs}
        assert inputs & {"nan", "inf", "-inf"}, name


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(registry, "conventions", lambda: "# the page\n")
    registry.main(["--conventions", str(tmp_path / "docs" / "page.md")])
    assert (tmp_path / "docs" / "page.md").read_text() == "# the page\n"
    registry.main([])
    assert "gradient samples" in capsys.readouterr().out

"""The MNIST step as it is compiled, beside what a person would write: `python -m benchmarks.calls` prints docs/mnist_step.md.

Counted are the nodes before and after the passes, and the lines that call NumPy in the emitted source and in
`hand_side.mnist`.
"""

from __future__ import annotations

import ast
import inspect
import textwrap

import numpy as np

from benchmarks.peers import gradc_side, hand_side
from benchmarks.workloads import data_of, weight_names, workload_named
from gradc import Executable

WORKLOAD = workload_named("mnist-100-100")
NAMED = {"empty", "ndarray", "apart"}
"""Names in the emitted source that take memory or check feeds, and compute nothing."""


def executable() -> Executable:
    """The step, compiled for the arrays of the workload."""
    data = data_of(WORKLOAD)
    names = weight_names(data)
    feeds = {name: data[name] for name in ("x", "y", *names)}
    return gradc_side.compiled_step(gradc_side.mnist_loss(WORKLOAD), feeds, names)


def hand_written() -> str:
    """The body of the hand-written step."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(hand_side.mnist)))
    step = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "step")
    return "\n".join(ast.unparse(statement) for statement in step.body)


def emitted(source: str) -> list[str]:
    """The calls of the emitted step, a line each."""
    lines = [line.strip() for line in source.splitlines() if line.startswith("    ") and not line.startswith("     ")]
    return [line for line in lines if line.split("(")[0].isidentifier() and line.split("(")[0] not in NAMED]


def page() -> str:
    """Counts, both programs, and the layout of the memory."""
    compiled = executable()
    hand = hand_written().splitlines()
    calls = emitted(compiled.source)
    before, after = compiled.report[0].before, compiled.report[-1].after
    computing = sum(bool(n.inputs) and not n.op.view for n in compiled.graph.nodes)
    return f"""# The MNIST step, compiled

Written by `make golden`; a test holds it to what the compiler emits. The step is the one of
`benchmarks/peers/gradc_side.py`: 784-100-10, float32, batch 100, cross entropy against one-hot labels, weights updated
in place.

| | |
| --- | --- |
| nodes of the joint graph, as differentiated | {before} |
| nodes after the passes | {after} |
| of those, placeholders, constants and views | {after - computing} |
| calls in the emitted source | {len(calls)} |
| NumPy calls a person writes | {len(hand)} |

Of the difference, most is in the adjoint of the cross entropy: a person knows that the labels of a row sum to one, and
writes `softmax - y`; the graph is right for labels that do not, and for logits that are infinite (`at_infinity`). Sums of
rows are products with ones, which BLAS computes, and the largest logit of each row is found column by column.

## What a person writes

```text
{chr(10).join(hand)}
```

## What gradc emits

```text
{compiled.source.rstrip()}
```
"""


def main() -> None:
    """Print the page."""
    np.seterr(all="ignore")
    print(page(), end="")


if __name__ == "__main__":
    main()

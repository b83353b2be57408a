"""Fits the noise levels and the drag of a tracked body: Newton's method on the likelihood that `tracker.py` computes.

`tracker.py` is plain NumPy. Here it is traced as it is, differentiated twice, and compiled once.

    python examples/kalman/fit.py --time 40
"""

import argparse

import numpy as np
import tracker
from tracker import Parameters

import gradc as gc

DT = 0.1
ROUNDING = 1e-12  # of a log likelihood, relatively: near its top, steps that are right may seem to lose so much
TRUE = Parameters(log_drag=np.log(0.3), log_kick=np.log(0.5), log_blur=np.log(0.2))


def likelihood_graph(reports, seen):
    """The graph of the log likelihood, with its gradient and the rows of its Hessian as outputs."""
    graph = gc.trace(tracker.log_likelihood, Parameters(gc.spec(), gc.spec(), gc.spec()), reports, seen, DT)
    variables = list(graph.placeholders)
    graph = gc.differentiate(graph, variables, of="out")
    for variable in variables:
        graph = gc.differentiate(graph, variables, of=f"d_out/d_{variable}")
    return graph


def newton(evaluate, start, steps=20):
    """Climb from `start`; yields (parameters, log likelihood, length of the gradient) of each step."""
    point = np.array(start, dtype="float64")
    damping = 1.0
    here = evaluate(point)
    for _ in range(steps):
        value, gradient, hessian = here
        yield Parameters(*point), value, np.linalg.norm(gradient)
        values, axes = np.linalg.eigh(hessian)
        step = axes @ ((axes.T @ gradient) / np.maximum(np.abs(values), 1e-6))
        least = value - ROUNDING * abs(value)
        while (there := evaluate(point + damping * step))[0] < least and damping > 1e-9:
            damping /= 4
        point, here, damping = point + damping * step, there, min(1.0, 2 * damping)


def evaluator(graph):
    """A function of a parameter vector: value, gradient of shape (3,), Hessian of shape (3, 3)."""
    run = graph.compile()
    names = list(graph.placeholders)

    def evaluate(point):
        out = list(run(dict(zip(names, point, strict=True))).values())
        return float(out[0]), np.array(out[1:4]), np.array(out[4:]).reshape(3, 3)

    return evaluate


def main():
    """Simulate a path, fit, and print every step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--time", type=int, default=40, help="how many reports (default: 40)")
    parser.add_argument("--seed", type=int, default=0, help="of the simulated path (default: 0)")
    options = parser.parse_args()
    reports, seen = tracker.simulate(TRUE, options.time, DT, options.seed)
    graph = likelihood_graph(reports, seen)
    print(f"{len(graph.nodes)} nodes: log likelihood, gradient, Hessian")
    print("step    drag    kick    blur   log likelihood   |gradient|")
    for k, (parameters, value, slope) in enumerate(newton(evaluator(graph), np.zeros(3))):
        drag, kick, blur = np.exp(np.array(parameters))
        print(f"{k:4}  {drag:6.3f}  {kick:6.3f}  {blur:6.3f}  {value:15.6f}  {slope:11.2e}")
        if slope < 1e-8:
            break
    print("true  " + "  ".join(f"{np.exp(p):6.3f}" for p in TRUE))


if __name__ == "__main__":
    main()

"""Find how well each joint of a rod conducts heat, from temperatures before and after: python examples/own_op/heat.py

It cools by implicit steps, (1 + k L) u_next = u, each a banded solve. One graph holds the misfit of the last
temperatures, its gradient by the conductivities through all steps, and the product of its Hessian with a vector: what a
trust-region method needs.
"""

from __future__ import annotations

import numpy as np
from banded import solve_banded
from scipy.optimize import minimize

import gradc as gc

POINTS, STEPS, RODS = 12, 3, 3


def cooled(k: gc.Node, u: gc.Node) -> gc.Node:
    """The temperatures after all steps; `k` holds the conductivity times the time step of each joint between points."""
    wall = np.zeros(1)
    left, right = gc.concatenate([wall, k]), gc.concatenate([k, wall])
    bands = gc.concatenate([-left[None], (1 + left + right)[None], -right[None]])
    for _ in range(STEPS):
        u = solve_banded(bands, u, lower=1, upper=1)
    return u


def misfit() -> gc.Graph:
    """The misfit of `log_k`, and its gradient."""
    g = gc.Graph("rod")
    log_k = g.placeholder("log_k", (POINTS - 1,))
    start, seen = g.placeholder("start", (RODS, POINTS)), g.placeholder("seen", (RODS, POINTS))
    k = np.exp(log_k)
    g.output("loss", sum(((cooled(k, start[r]) - seen[r]) ** 2).mean() for r in range(RODS)))
    return gc.differentiate(g, log_k)


def main() -> float:
    """Make temperatures from known conductivities, find these again, and return the largest error of their logarithms."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(-1, 1, POINTS - 1)
    start = rng.uniform(0, 100, (RODS, POINTS))
    g = gc.Graph("rod")
    g.output("u", cooled(np.exp(g.placeholder("log_k", truth.shape)), g.placeholder("start", (POINTS,))))
    run = gc.compile(g)
    seen = np.stack([run(log_k=truth, start=row)["u"] for row in start])

    dg = misfit()
    slope = gc.compile(dg)
    bend = gc.compile(gc.differentiate(dg, "log_k", of="d_loss/d_log_k", mode="forward"), outputs="dot_d_loss/d_log_k")
    data = {"start": start, "seen": seen}
    found = minimize(
        lambda x: tuple(slope(data, log_k=x).values()),
        np.zeros(POINTS - 1),
        jac=True,
        hessp=lambda x, v: bend(data, log_k=x, dot_log_k=v)["dot_d_loss/d_log_k"],
        method="trust-ncg",
        options={"gtol": 1e-9},
    )
    error = float(np.abs(found.x - truth).max())
    print(f"misfit {found.fun:.1e} after {found.nit} steps, {found.nfev} gradients and {found.nhev} products with the Hessian")
    print(f"largest error of log k: {error:.1e}")
    return error


if __name__ == "__main__":
    main()

"""A Kalman filter and smoother for a body that moves in the plane, in plain NumPy.

The state is (position, velocity) in two dimensions, shape (4,); velocity decays by a drag and is kicked by white noise. Sensors
report noisy positions; some reports are missing. The log likelihood of the noise levels and the drag is what the filter
gives (R. E. Kalman 1960; H. E. Rauch, F. Tung, C. T. Striebel 1965 for the smoother).

Nothing here knows of gradc: `fit.py` traces it.
"""

from typing import NamedTuple

import numpy as np


class Parameters(NamedTuple):
    """What the likelihood is a function of, each a logarithm so that any real number is a valid value."""

    log_drag: object  # 1/s
    log_kick: object  # m/s^1.5
    log_blur: object  # m


class Belief(NamedTuple):
    """A normal distribution over states: mean of shape (4,), covariance of shape (4, 4)."""

    mean: object
    covariance: object


class Step(NamedTuple):
    """What the smoother needs to know of one step of the filter."""

    predicted: Belief
    updated: Belief
    log_density: object


def motion(parameters, dt):
    """The transition matrix and its noise covariance over `dt` seconds."""
    decay = np.exp(-np.exp(parameters.log_drag) * dt)
    travel = -np.expm1(-np.exp(parameters.log_drag) * dt) / np.exp(parameters.log_drag)
    transition = np.kron(np.stack([np.stack([1.0, travel]), np.stack([0.0, decay])]), np.eye(2))
    kick = np.exp(2 * parameters.log_kick)
    corner = np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
    return transition, kick * np.kron(corner, np.eye(2))


def sensor(parameters):
    """The observation matrix, shape (2, 4), and the noise covariance of one report."""
    observe = np.hstack([np.eye(2), np.zeros((2, 2))])
    return observe, np.exp(2 * parameters.log_blur) * np.eye(2)


def predict(belief, transition, noise):
    """The belief one step later, before its report is seen."""
    mean = transition @ belief.mean
    covariance = transition @ belief.covariance @ transition.T + noise
    return Belief(mean, covariance)


def update(belief, report, observe, noise):
    """The belief after `report`, and the log density that it gave to that report."""
    innovation = report - observe @ belief.mean
    spread = observe @ belief.covariance @ observe.T + noise
    gain = np.linalg.solve(spread, observe @ belief.covariance).T
    keep = np.eye(4) - gain @ observe
    covariance = keep @ belief.covariance @ keep.T + gain @ noise @ gain.T
    _, log_volume = np.linalg.slogdet(spread)
    distance = innovation @ np.linalg.solve(spread, innovation)
    log_density = -0.5 * (distance + log_volume + report.shape[0] * np.log(2 * np.pi))
    return Belief(belief.mean + gain @ innovation, covariance), log_density


def choose(seen, belief, other):
    """`belief` where `seen`, `other` where not."""
    return Belief(np.where(seen, belief.mean, other.mean), np.where(seen, belief.covariance, other.covariance))


def filter_reports(parameters, reports, seen, dt):
    """The steps of the filter over `reports`, shape (time, 2), of which `seen`, shape (time,), arrived."""
    transition, kick = motion(parameters, dt)
    observe, blur = sensor(parameters)
    belief = Belief(np.zeros(4), np.diag([100.0, 100.0, 25.0, 25.0]))
    steps = []
    for report, arrived in zip(reports, seen, strict=True):
        predicted = predict(belief, transition, kick)
        updated, log_density = update(predicted, report, observe, blur)
        belief = choose(arrived, updated, predicted)
        steps.append(Step(predicted, belief, np.where(arrived, log_density, 0.0)))
    return steps


def smooth(parameters, steps, dt):
    """The means of position and velocity given all reports, shape (time, 4)."""
    transition, _ = motion(parameters, dt)
    later = steps[-1].updated
    means = [later.mean]
    for step, after in zip(steps[-2::-1], steps[:0:-1], strict=True):
        gain = np.linalg.solve(after.predicted.covariance, transition @ step.updated.covariance).T
        mean = step.updated.mean + gain @ (later.mean - after.predicted.mean)
        covariance = step.updated.covariance + gain @ (later.covariance - after.predicted.covariance) @ gain.T
        later = Belief(mean, 0.5 * (covariance + covariance.T))
        means.append(mean)
    return np.stack(means[::-1])


def log_likelihood(parameters, reports, seen, dt):
    """How likely the reports that arrived are under `parameters`."""
    steps = filter_reports(parameters, reports, seen, dt)
    return np.sum(np.stack([step.log_density for step in steps]))


def roughness(parameters, reports, seen, dt):
    """The mean squared acceleration of the smoothed path."""
    path = smooth(parameters, filter_reports(parameters, reports, seen, dt), dt)
    acceleration = np.diff(path[:, 2:], axis=0) / dt
    return np.mean(np.sum(acceleration**2, axis=-1))


def simulate(parameters, time, dt, seed, missing=0.2):
    """A path drawn from the model: reports of shape (time, 2) and which of them arrived, shape (time,).

    Drawn by Cholesky factors, which are unique: with the default, singular vectors, a seed's path would depend on the LAPACK.
    """
    rng = np.random.default_rng(seed)
    transition, kick = motion(parameters, dt)
    _, blur = sensor(parameters)
    state = np.array([0.0, 0.0, 3.0, -1.0])
    reports = []
    for _ in range(time):
        state = transition @ state + rng.multivariate_normal(np.zeros(4), kick, method="cholesky")
        reports.append(state[:2] + rng.multivariate_normal(np.zeros(2), blur, method="cholesky"))
    return np.array(reports), rng.random(time) > missing

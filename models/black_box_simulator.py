"""A simulator without gradients: how fast was the ball thrown, and how much does the air slow it down?

Six throws at angles of 15 to 65 degrees; the distance at which the ball landed was measured. The flight is
simulated in small steps by plain Python, with ``float`` and a ``while`` loop, so that there is no derivative
to be had. Data: the simulator's own distances at speed 30 m/s and drag 0.01 / m, with normal errors of sd 0.5
m (``default_rng(4)``), rounded to 0.1 m.

Model, for throw i::

    speed ~ LogNormal(log 25, 0.5)              m / s
    drag ~ LogNormal(log 0.02, 1)               1 / m
    sigma ~ HalfNormal(0, 2)                    m
    distance_i ~ Normal(flight(speed, drag, angle_i), sigma)

What to look for: values alone are enough, by the score function. Speed and drag are strongly correlated: a
faster ball in thicker air lands in the same place.
"""

import math

import numpy as np

import bbvi
from bbvi.stats import halfnorm, lognorm, norm

ANGLE = [15, 25, 35, 45, 55, 65]
DISTANCE = [33.6, 46.9, 54.4, 54.8, 49.1, 40.6]
GRAVITY = 9.81
STEP = 0.05
LONGEST = 20_000  # steps, after which a flight is given up


def flight(speed: float, drag: float, angle: float) -> float:
    """Distance (m) at which a ball lands that was thrown at an angle (degrees), with quadratic drag."""
    x, y = 0.0, 0.0
    steps = 0
    u, v = speed * math.cos(math.radians(angle)), speed * math.sin(math.radians(angle))
    while steps < LONGEST:
        steps += 1
        slowing = drag * math.hypot(u, v)
        u, v = u - STEP * slowing * u, v - STEP * (slowing * v + GRAVITY)
        x_next, y_next = x + STEP * u, y + STEP * v
        if y_next <= 0:
            return x + (x_next - x) * y / (y - y_next) if y > 0 else 0.0
        x, y = x_next, y_next
    return x


def log_prior(z):
    log_prior_of_flight = lognorm.logpdf(z.speed, 0.5, scale=25) + lognorm.logpdf(z.drag, 1, scale=0.02)
    return log_prior_of_flight + halfnorm.logpdf(z.sigma, 0, 2)


def log_likelihood(z, distance, angle):
    simulated = np.array([flight(float(z.speed), float(z.drag), degrees) for degrees in angle])
    return norm.logpdf(distance, simulated, float(z.sigma))


def model() -> bbvi.Model:
    """A simulator with three parameters, values only; 3 latents."""
    return bbvi.Model(
        log_prior=log_prior,
        log_likelihood=log_likelihood,
        latents={"speed": bbvi.Positive(), "drag": bbvi.Positive(), "sigma": bbvi.Positive()},
        data={"distance": DISTANCE, "angle": ANGLE},
    )

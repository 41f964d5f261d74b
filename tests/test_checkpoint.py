"""Checkpoints: killed at any moment and made again, a fit ends the same bit by bit, and no call is made twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import autograd.numpy as anp
import kills
import numpy as np
import pytest

import bbvi
from bbvi.target import log as logs
from bbvi.target.log import Log, LogPolicy

resource = pytest.importorskip("resource")

Y = np.random.default_rng(1).normal(1.0, 2.0, size=30)


def run_kills(case, number, seed):
    """The script in a process of its own, which forks and so must have no threads."""
    done = subprocess.run(
        [sys.executable, kills.__file__, case, str(number), str(seed)],
        capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["identical"] == found["finished"] == number
    # Tracing takes a few calls: no result of those can be kept, since it is a recording.
    assert found["finished_again"] <= 8
    # With threads, what they had not handed over yet is made again.
    assert case == "threads" or found["again"] <= 8
    return found


@pytest.mark.parametrize("case", kills.CASES)
def test_killed_at_random_moments_a_fit_ends_the_same(case):
    """Three kills of each solver with and without mini-batches, of both kinds of values and gradients: 30."""
    run_kills(case, 3, 1)


@pytest.mark.slow
@pytest.mark.torture
@pytest.mark.parametrize("case", kills.CASES)
def test_killed_often_at_random_moments_a_fit_ends_the_same(case):
    """240 kills."""
    run_kills(case, 24, 2)


# ---- whose checkpoint it is --------------------------------------------------------------------------------


class Simulator:
    """Values only, and counted; `at` is the call at which it fails, which is no part of what it computes.

    It fails by an error that no simulator's own failure looks like, since those cost one evaluation and not the fit.
    """

    def __init__(self, scale=1.0, noise=None, at=None):
        self.calls, self.scale, self.noise, self.fails = 0, scale, noise, [at]

    def __call__(self, z, y):
        if type(z["m"]) is not np.ndarray:
            raise TypeError("plain arrays only")
        self.calls += 1
        if self.calls in self.fails:
            raise LookupError("the cluster has gone")
        value = -0.5 * float(np.sum((y - z["m"]) ** 2) / 4 + z["m"] ** 2 + np.sum(z["b"] ** 2))
        return self.scale * value + (0.1 * self.noise.standard_normal() if self.noise is not None else 0.0)


def model(function=None, y=Y):
    return bbvi.Model(function or Simulator(), {"m": bbvi.Real(), "b": bbvi.Real(shape=2)}, {"y": y})


def fitted(path, function=None, y=Y, **options):
    return bbvi.fit(model(function, y), **{"seed": 1, "estimator": "score", "checkpoint": path, **options})


@pytest.fixture(scope="module")
def whole():
    function = Simulator()
    return fitted(None, function), function.calls


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.log"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 2}, "seed was 1, and is 2 now"),
        ({"tolerance": 0.001}, "tolerance was 0.05, and is 0.001 now"),
        ({"init": {"m": 0.5, "b": np.zeros(2)}}, "init was none, and is another now"),
        ({"estimator": bbvi.ScoreFunction(control_variate="optimal")}, "estimator was .*regression.* is .*optimal"),
        ({"solver": bbvi.NaturalGradient(max_batch=77)}, "solver was .*NaturalGradient.*max_batch=77"),
        ({"solver": bbvi.Stochastic()}, "solver was NaturalGradient.*, and is Stochastic"),
        ({"y": np.concatenate([Y[:-1], [Y[-1] + 1e-9]])}, r"other data or of another log joint: data\['y'\] differ"),
        ({"function": Simulator(scale=1.0001)}, "other data or of another log joint"),
    ],
)
def test_a_checkpoint_of_another_fit_is_refused_by_the_name_of_what_differs(path, changed, named):
    fitted(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"checkpoint: .*fit.log is of .*{named}") as caught:
        fitted(path, **changed)
    assert "Delete the file to begin anew" in str(caught.value)
    assert path.read_bytes() == before


def test_a_change_in_one_of_many_observations_shows(path):
    y = np.random.default_rng(1).normal(size=100_000)
    other = y.copy()
    other[77_777] += 0.1

    def log_joint(z, y):
        return -0.5 * anp.sum((y - z.m) ** 2)

    bbvi.fit(bbvi.Model(log_joint, {"m": bbvi.Real()}, {"y": y}), seed=1, checkpoint=path)
    with pytest.raises(ValueError, match=r"data\['y'\] differ"):
        bbvi.fit(bbvi.Model(log_joint, {"m": bbvi.Real()}, {"y": other}), seed=1, checkpoint=path)


def test_other_latents_are_refused(path):
    fitted(path)
    other = bbvi.Model(Simulator(), {"m": bbvi.Positive(), "b": bbvi.Real(shape=2)}, {"y": Y})
    with pytest.raises(ValueError, match="latent 'm' differ"):
        bbvi.fit(other, seed=1, estimator="score", checkpoint=path)


def test_code_that_was_changed_and_gives_the_same_values_goes_on(path):
    """A comment, a log line, another way to write it: a few calls tell that nothing changed."""
    first, second = (
        lambda z: -0.5 * float(np.sum((np.asarray(z, float) - 1.0) ** 2)),
        lambda z: -0.5 * float(np.sum((1.0 - np.asarray(z, float)) ** 2)),
    )
    one = bbvi.fit(first, 2, seed=1, estimator="score", checkpoint=path)
    two = bbvi.fit(second, 2, seed=1, estimator="score", checkpoint=path)
    assert kills.content(one) == kills.content(two)
    with pytest.raises(ValueError, match="of another log joint"):
        bbvi.fit(lambda z: -0.6 * float(np.sum(np.asarray(z) ** 2)), 2, seed=1, estimator="score", checkpoint=path)


def test_closures_are_told_apart(path):
    def scaled(scale):
        return lambda z: -0.5 * scale * anp.sum(z**2)

    bbvi.fit(scaled(1.0), 2, seed=1, init=[1.0, 1.0], checkpoint=path)
    with pytest.raises(ValueError, match="of another log joint"):
        bbvi.fit(scaled(1.1), 2, seed=1, init=[1.0, 1.0], checkpoint=path)


def test_whoever_gives_no_seed_goes_on_with_that_of_the_checkpoint(path):
    with pytest.raises(LookupError):
        fitted(path, Simulator(at=100), seed=None)
    first = fitted(path, seed=None)
    function = Simulator()
    again = fitted(path, function, seed=None)
    assert again.seed == first.seed and kills.content(again) == kills.content(first)
    assert function.calls <= 1


# ---- what it costs, and what it spares ---------------------------------------------------------------------


def test_what_is_on_disk_is_not_called_again(path, whole):
    fit, needed = whole
    function = Simulator(at=100)
    with pytest.raises(LookupError):
        fitted(path, function)
    function = Simulator()
    assert kills.content(fitted(path, function)) == kills.content(fit)
    # The linter looks at how one value comes about, and not at the value, so that one call is made again.
    assert function.calls == needed - 99 + 1
    function = Simulator()
    assert kills.content(fitted(path, function)) == kills.content(fit)
    assert function.calls == 1


def test_a_larger_limit_goes_on_from_a_smaller_one(path):
    function = Simulator()
    small = fitted(path, function, max_evaluations=90)
    assert small.evaluations <= 90
    spent, function = function.calls, Simulator()
    large = fitted(path, function)
    assert large.converged and function.calls < large.evaluations - spent / 2


def test_a_noisy_log_joint_ends_the_same(path):
    with pytest.raises(LookupError):
        fitted(path, Simulator(noise=np.random.default_rng(1), at=100))
    first = fitted(path, Simulator(noise=np.random.default_rng(2)))
    assert kills.content(fitted(path, Simulator(noise=np.random.default_rng(3)))) == kills.content(first)


def test_arithmetic_errors_are_kept_with_what_they_say(path):
    def fails(z):
        assert type(z) is np.ndarray
        if z[0] > 1.0:
            raise ZeroDivisionError("no such model")
        return -0.5 * float(np.sum(z**2))

    first, again = (
        bbvi.fit(fails, 2, seed=1, estimator="score", solver=bbvi.NaturalGradient(), checkpoint=path) for _ in range(2)
    )
    assert kills.content(first) == kills.content(again)
    with_log = Log(path)
    errors = [c for places in with_log._known.values() for p in places if "error" in (c := with_log._content(p))]
    with_log.close()
    assert errors and {error["error"] for error in errors} == {"ZeroDivisionError"}
    told = logs._error(errors[0])
    assert isinstance(told, ZeroDivisionError) and str(told) == "no such model" and "log_joint" in told.__notes__[0]


def test_a_long_log_keeps_what_was_dear(path, whole, monkeypatch):
    function = Simulator()
    monkeypatch.setattr(Log.__init__, "__defaults__", (LogPolicy(everything=20_000, bytes_per_second=0.0),))
    assert kills.content(fitted(path, function)) == kills.content(whole[0])
    assert 15_000 < path.stat().st_size <= 20_100
    again = Simulator()
    assert kills.content(fitted(path, again)) == kills.content(whole[0])
    assert 0 < again.calls < function.calls
    assert path.stat().st_size <= 20_100


def test_workers_tell_the_log_as_soon_as_they_are_done(path):
    """Of slow draws, those that were done are kept, though an earlier one was not."""
    gate = threading.Event()

    def slow(z):
        assert type(z) is np.ndarray
        if not np.any(z):
            return 0.0
        if slow.first is None:
            slow.first = z.copy()
        if np.array_equal(z, slow.first):
            gate.wait(20)
            raise LookupError("the cluster has gone")
        slow.done += 1
        if slow.done == 3:
            time.sleep(0.3)
            gate.set()
        return -0.5 * float(np.sum(z**2))

    slow.first, slow.done = None, 0
    with ThreadPoolExecutor(4) as pool, pytest.raises(LookupError):
        bbvi.fit(slow, 2, seed=1, estimator="score", executor=pool, checkpoint=path)
    held = Log(path)
    assert len(held._known) >= 3
    held.close()


# ---- disks -------------------------------------------------------------------------------------------------


def test_a_full_disk_costs_the_checkpoint_and_not_the_fit(path, whole):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.warns(RuntimeWarning, match="checkpoint: .*fit.log could not be written .*the fit goes on") as told:
            fit = fitted(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(told) == 1 and kills.content(fit) == kills.content(whole[0])
    # What fitted on it is whole, and gone on from.
    function = Simulator()
    assert kills.content(fitted(path, function)) == kills.content(fit)
    assert 0 < function.calls < whole[1]


def test_what_is_written_is_flushed_to_disk(path, monkeypatch):
    """At its beginning and its end, and in between where calls take long."""
    flushed, plain = [], os.fsync
    monkeypatch.setattr("bbvi.target.log.os.fsync", lambda file: (flushed.append(path.stat().st_size), plain(file)))
    fitted(path)
    assert len(flushed) >= 2 and flushed[-1] == path.stat().st_size
    path.unlink()
    monkeypatch.setattr(Log.__init__, "__defaults__", (LogPolicy(flushed=0.0),))
    flushed.clear()
    fitted(path)
    assert len(flushed) > 20


def test_the_folder_is_tried_before_any_work(tmp_path):
    function = Simulator()
    for place in (tmp_path / "missing" / "fit.log", tmp_path):
        with pytest.raises(ValueError, match="checkpoint: .* cannot be written"):
            fitted(place, function)
    assert function.calls == 0


def test_a_link_that_the_user_made_is_kept(tmp_path, whole):
    (tmp_path / "far").mkdir()
    link = tmp_path / "fit.log"
    link.symlink_to(tmp_path / "far" / "real.log")
    assert kills.content(fitted(link)) == kills.content(whole[0])
    assert link.is_symlink() and (tmp_path / "far" / "real.log").is_file()


# ---- damage ------------------------------------------------------------------------------------------------


def test_damaged_checkpoints_give_one_clear_error_or_the_same_fit(path, whole):
    """Eighty: forty truncated, which is what a power cut leaves, and forty with flipped bits."""
    fitted(path)
    good = path.read_bytes()
    refused = 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        content = bytearray(good)
        if seed < 40:
            content = content[: rng.integers(len(good))]
        else:
            for place in rng.integers(len(good), size=rng.integers(1, 50)):
                content[place] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        if seed < 40 and len(content) > 100:
            # Read only: that a fit goes on from there is what the kills try.
            Log(path).close()
            continue
        try:
            fit = fitted(path)
        except ValueError as error:
            refused += 1
            assert str(path) in str(error) and "checkpoint of bbvi" in str(error) and "\n" not in str(error)
            assert path.read_bytes() == content
        else:
            assert kills.content(fit) == kills.content(whole[0])
    assert refused >= 39


@pytest.mark.parametrize("content", [b"not a checkpoint", b"\x89HDF\r\n\x1a\n" + bytes(99), bytes(5000), b"PK\x03\x04"])
def test_files_of_other_kinds_are_refused_and_left_alone(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="checkpoint: .* is not a checkpoint of bbvi. Delete the file"):
        fitted(path)
    assert path.read_bytes() == content


def test_a_checkpoint_of_another_format_is_refused(path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("bbvi.serial.FORMAT", 99)
        fitted(path)
    with pytest.raises(ValueError, match="it is of format 99, and this version of bbvi reads format"):
        fitted(path)


# ---- two at a time -----------------------------------------------------------------------------------------


def test_two_threads_with_one_path(path, whole):
    """One gets the file; the others are told, and nothing is lost."""
    barrier, told, fits = threading.Barrier(4), [], []

    def work():
        barrier.wait()
        try:
            fits.append(fitted(path))
        except ValueError as error:
            told.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fits) >= 1 and len(fits) + len(told) == 4
    assert all("is being written by another fit" in message for message in told)
    assert {kills.content(fit) for fit in fits} == {kills.content(whole[0])}
    assert kills.content(fitted(path)) == kills.content(whole[0])


HOLDS = """
import sys, time
from pathlib import Path
from bbvi.target.log import Log
log = Log(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_two_processes_with_one_path(path):
    """The file is free as soon as the other process is gone, however it went."""
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        try:
            for _ in range(2):
                with pytest.raises(ValueError, match=r"checkpoint: .* is being written by another fit"):
                    fitted(path)
        finally:
            other.kill()
    assert fitted(path).converged


def test_an_error_lets_go_of_the_file(path):
    for _ in range(2):
        with pytest.raises(LookupError):
            fitted(path, Simulator(at=1))
        with pytest.raises(ValueError, match="init"):
            fitted(path, init={"wrong": 1.0})
    assert fitted(Path(path)).converged
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fitted(str(path)).converged

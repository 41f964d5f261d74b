"""Files: damaged ones give one clear error, failed writes leave the old one, links are neither followed nor lost."""

from __future__ import annotations

import copy
import datetime
import errno
import fractions
import io
import json
import os
import pickle
import resource

import arviz as az
import autograd.numpy as anp
import numpy as np
import pytest
from posteriors import schools

import bbvi
from bbvi import files, serial


@pytest.fixture(scope="module")
def fit():
    return bbvi.fit(schools(), seed=1)


@pytest.fixture(scope="module")
def contents(fit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    for ending in (".npz", ".nc"):
        fit.save(folder / f"fit{ending}")
    return {ending: (folder / f"fit{ending}").read_bytes() for ending in (".npz", ".nc")}


def refused(path, content):
    path.write_bytes(content)
    before = sorted(path.parent.iterdir())
    with pytest.raises(ValueError, match="is not a fit that was saved by bbvi: .+") as caught:
        bbvi.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert path.read_bytes() == content and sorted(path.parent.iterdir()) == before


def truncated(content, rng):
    return content[: rng.integers(len(content))]


def flipped(content, rng):
    changed = bytearray(content)
    for place in rng.integers(len(changed), size=rng.integers(1, 201)):
        changed[place] ^= 1 << rng.integers(8)
    return bytes(changed) if bytes(changed) != content else content[:-1]


def overwritten(content, rng):
    start = rng.integers(len(content) - 600)
    return content[:start] + rng.bytes(512) + content[start + 512 :]


@pytest.mark.parametrize("ending", [".npz", ".nc"])
@pytest.mark.parametrize("damage", [truncated, flipped, overwritten])
def test_damaged_files_give_one_clear_error(contents, ending, damage, tmp_path):
    """Forty of each kind: 240 files."""
    for seed in range(40):
        refused(tmp_path / f"fit{ending}", damage(contents[ending], np.random.default_rng(seed)))


def edited(change, content):
    """A file whose checksum is right, and whose content another program changed."""
    stored = serial.Plain.unzipped(serial.unsealed(content))
    whole, arrays = json.loads(stored.text), dict(stored.arrays)
    change(whole, arrays)
    return serial.sealed(serial.Plain(json.dumps(whole), arrays).zipped())


def fields(whole):
    return whole["content"]["dict"]["fields"]["dict"]


def test_a_field_that_is_missing_or_new_gives_one_clear_error(contents, tmp_path):
    names = list(fields(json.loads(serial.Plain.unzipped(serial.unsealed(contents[".npz"])).text)))
    assert len(names) > 20
    for name in names:
        refused(tmp_path / "fit.npz", edited(lambda whole, arrays: fields(whole).pop(name), contents[".npz"]))  # noqa: B023
    refused(tmp_path / "fit.npz", edited(lambda whole, arrays: fields(whole).update(new=1), contents[".npz"]))
    refused(tmp_path / "fit.npz", edited(lambda whole, arrays: arrays.popitem(), contents[".npz"]))
    refused(tmp_path / "fit.npz", edited(lambda whole, arrays: whole.update(format=99), contents[".npz"]))
    refused(tmp_path / "fit.npz", edited(lambda whole, arrays: whole.update(content=[1, 2]), contents[".npz"]))


def test_files_of_other_kinds_give_one_clear_error(contents, tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(3))
    others = [b"", b"text", buffer.getvalue(), b"\x89HDF\r\n\x1a\n" + bytes(500), bytes(4096), os.urandom(4096)]
    for content in others:
        refused(tmp_path / "fit.npz", content)
        refused(tmp_path / "fit.nc", content)
        refused(tmp_path / "fit.nc", serial.sealed(content))
        refused(tmp_path / "fit.npz", serial.sealed(content))
    refused(tmp_path / "fit.nc", contents[".npz"])
    refused(tmp_path / "fit.npz", contents[".nc"])


def full(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("ending", [".npz", ".nc"])
def test_a_save_that_fails_leaves_the_old_file(fit, contents, ending, tmp_path, monkeypatch):
    path = tmp_path / f"fit{ending}"
    fit.save(path)
    old = path.read_bytes()
    for step in ("fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(files.os, step, full)
            with pytest.raises(OSError, match="No space left"):
                fit.save(path)
        assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]
    assert bbvi.load(path).elbo == fit.elbo


@pytest.mark.parametrize("ending", [".nc", ".npz"])
def test_a_file_that_cannot_be_written_is_named_as_the_user_named_it(fit, tmp_path, ending, monkeypatch):
    path = tmp_path / "missing" / f"fit{ending}"
    with pytest.raises(FileNotFoundError) as caught:
        fit.save(path)
    assert f"there is no folder {path.parent}: '{path}'" in str(caught.value)
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(NotADirectoryError, match="taken is no folder"):
        fit.save(tmp_path / "taken" / f"fit{ending}")
    (tmp_path / f"folder{ending}").mkdir()
    with pytest.raises(OSError, match=f"folder{ending}'$") as caught:
        fit.save(tmp_path / f"folder{ending}")
    monkeypatch.setattr(files.os, "open", unwritable)
    with pytest.raises(PermissionError) as caught:
        fit.save(tmp_path / f"fit{ending}")
    assert str(tmp_path / f"fit{ending}") in str(caught.value) and ".part" not in str(caught.value)
    assert sorted(x.name for x in tmp_path.iterdir()) == sorted(["taken", f"folder{ending}"])


def unwritable(path, *given):
    raise PermissionError(13, "Permission denied", path)


def test_a_link_that_the_user_made_is_kept(fit, tmp_path):
    (tmp_path / "far").mkdir()
    link = tmp_path / "fit.npz"
    link.symlink_to(tmp_path / "far" / "real.npz")
    for _ in range(2):
        fit.save(link)
        assert link.is_symlink() and (tmp_path / "far" / "real.npz").is_file()
    assert bbvi.load(link).elbo == fit.elbo
    assert sorted(x.name for x in tmp_path.iterdir()) == ["far", "fit.npz"]


def test_no_planted_link_is_followed_by_the_temporary_file(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    # Even whoever guesses the name comes to nothing.
    monkeypatch.setattr(files.secrets, "token_hex", lambda size: "guessed")
    (tmp_path / ".fit.npz.guessed.part").symlink_to(victim)
    with pytest.raises(FileExistsError):
        files.write(tmp_path / "fit.npz", b"content")
    assert victim.read_bytes() == b"precious" and not (tmp_path / "fit.npz").exists()


def test_a_file_is_on_disk_before_it_is_in_place_and_its_name_afterwards(tmp_path, monkeypatch):
    steps = []
    for step in ("fsync", "replace"):
        plain = getattr(os, step)
        monkeypatch.setattr(files.os, step, lambda *given, step=step, plain=plain: (steps.append(step), plain(*given)))
    files.write(tmp_path / "x", b"1")
    assert steps == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("ending", [".nc", ".npz"])
def test_a_disk_that_is_full_while_a_fit_is_saved_is_an_error_and_no_more(fit, contents, ending, tmp_path):
    """HDF5, written to such a disk itself, ends Python with a segmentation fault."""
    path = tmp_path / f"fit{ending}"
    fit.save(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            fit.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert bbvi.load(path).elbo == fit.elbo and list(tmp_path.iterdir()) == [path]


def test_names_of_temporary_files_cannot_be_foretold(tmp_path, monkeypatch):
    seen = []
    plain = os.replace
    monkeypatch.setattr(files.os, "replace", lambda first, second: (seen.append(str(first)), plain(first, second)))
    for _ in range(20):
        files.write(tmp_path / "x", b"1")
    assert len(set(seen)) == 20 and [x.name for x in tmp_path.iterdir()] == ["x"]


def test_permissions_of_the_old_file_are_kept(tmp_path):
    files.write(tmp_path / "x", b"1")
    (tmp_path / "x").chmod(0o640)
    files.write(tmp_path / "x", b"2")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


LABELS = {
    "dates": [datetime.date(2020, 1, day) for day in (1, 2, 3)],
    "times": [datetime.datetime(2020, 1, day, 5) for day in (1, 2, 3)],
    "zones": [datetime.datetime(2020, 1, day, tzinfo=datetime.UTC) for day in (1, 2, 3)],
    "datetime64": np.array(["2020-01-01", "2020-01-02", "2020-01-03"], dtype="M8[D]"),
    "bool": [True, False],
    "mixed": ["a", 1, None],
    "tuples": [("a", 1), ("a", 2), ("b", 1, 3)],
    "bytes": [b"a", b"b"],
    "fractions": [fractions.Fraction(1, 3), fractions.Fraction(2, 3)],
}


@pytest.mark.parametrize("name", LABELS)
def test_coords_of_every_kind_save_load_and_export(name, tmp_path):
    labels = LABELS[name]
    model = bbvi.Model(
        lambda z, y: -0.5 * anp.sum((y - z.b) ** 2),
        {"b": bbvi.Real(dims="t")},
        data={"y": np.arange(float(len(labels)))},
        coords={"t": labels},
        dims={"y": "t"},
    )
    fit = bbvi.fit(model, seed=1)
    for path in (tmp_path / "fit.nc", tmp_path / "fit.npz"):
        fit.save(path)
        again = bbvi.load(path)
        assert str(again) == str(fit)
        assert list(map(str, again.model.coords["t"])) == list(map(str, fit.model.coords["t"]))
    again.to_arviz(draws=10).to_netcdf(str(tmp_path / "export.nc"))
    assert az.from_netcdf(str(tmp_path / "fit.nc"))["posterior"]["b"].shape == (1, 1000, len(labels))


def test_values_come_back_as_they_were():
    values = {
        "nothing": None, "flag": True, "many": [1, 2.5, "x"], "pair": (1, (None,)), 3: {"a/b": np.arange(3)},
        "complex": np.array([1 + 2j]), "bytes": np.array([b"ab", b"c"]), "date": datetime.date(2020, 1, 2),
        "time": datetime.datetime(2020, 1, 2, 3, tzinfo=datetime.UTC), "days": np.array([1, 2], "m8[D]"),
        "scalars": [np.float32(0.1), np.datetime64("2020-01-01"), np.complex128(1j), np.str_("s"), np.bool_(True)],
        "objects": np.array([[1, "a"], [None, datetime.date(2020, 1, 1)]], dtype=object), "none": np.empty((0, 3)),
        "infinite": [float("inf"), float("-inf")],
    }  # fmt: skip
    stored = serial.plain(values, "x")
    for again in (serial.Plain.unpacked(stored.packed()), serial.Plain.unzipped(stored.zipped())):
        assert repr(serial.value_of(again)) == repr(values)
    again = serial.value_of(again)
    assert again["scalars"][0].dtype == np.float32 and again["none"].shape == (0, 3)
    with pytest.raises(TypeError, match="x.a.1: cannot be saved, a object"):
        serial.plain({"a": [1, object()]}, "x")


def test_digests_tell_apart_what_differs_in_one_bit():
    x = np.linspace(0, 1, 1000)
    y = x.copy()
    y[500] = np.nextafter(y[500], 2)
    parts = [x, y, x.reshape(10, 100), x.astype(np.float32), x.view(np.int64), b"ab", "a", ("a", "b")]
    assert len({serial.digest(part) for part in parts}) == len(parts)
    assert serial.digest(x[::2]) == serial.digest(x[::2].copy())
    assert serial.digest("a", "bc") != serial.digest("ab", "c")


def test_pickles_hold_what_a_saved_fit_holds(fit):
    again = pickle.loads(pickle.dumps(fit))
    assert str(again) == str(fit)
    with pytest.raises(ValueError, match=r"bbvi\.load\(path, model\)"):
        again.loo()
    assert copy.deepcopy(fit).model.functions.keys() == fit.model.functions.keys()
    assert str(copy.copy(fit).loo()) == str(copy.deepcopy(fit).loo()) == str(fit.loo())


def log_joint(z):
    return -0.5 * anp.sum(z**2)


def test_pickles_hold_the_model_where_that_can_be_pickled():
    fit = bbvi.fit(log_joint, 2, seed=1)
    again = pickle.loads(pickle.dumps(fit))
    assert again.model.functions["log_joint"] is log_joint
    assert again.target.values(np.zeros((1, 2)))[0] == 0.0

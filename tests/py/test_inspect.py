"""scripts/inspect.py: what is in a file, what differs, averages, digests."""

import json
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from helpers import REPO, Lab


def inspect(lab, *args, code=0):
    done = subprocess.run([sys.executable, REPO / "scripts/inspect.py", *map(str, args)], cwd=lab.dir,
                          text=True, capture_output=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code in (0, 1) else done.stdout + done.stderr


@pytest.fixture(scope="module")
def lab(tmp_path_factory, data):
    """Two runs that differ in their seeds. Not to be changed."""
    lab = Lab(tmp_path_factory.mktemp("inspect"), data)
    for seed in 1, 2:
        lab.train(f"run.name=run{seed}", f"run.seed={seed}", model__layers="dense:12 relu", train__epochs=2,
                  optimizer__momentum=0.9, optimizer__lr=0.02)
    return lab


@pytest.fixture
def copy(lab, tmp_path):
    """A checkpoint that may be changed."""
    return shutil.copy(lab.out("run1").last, tmp_path / "copy.h5")


def test_a_run_is_shown_with_its_tensors_and_config(lab):
    text = inspect(lab, "runs/run1")
    assert text.count("digest good") == 3 and "WRONG" not in text
    assert "last epoch: epoch 2" in text and "layers = dense:12 relu" in text
    found = json.loads(inspect(lab, lab.out("run1").last, "--json"))[0]
    w = lab.out("run1").model()["0.weight"]
    s = found["tensors"]["0.weight"]
    assert s["shape"] == list(w.shape) and s["dead_units"] == 0 and s["not_finite"] == 0
    for name, value in (("mean", w.mean()), ("std", w.std()), ("min", w.min()), ("max", w.max()),
                        ("norm", np.linalg.norm(w))):
        assert s[name] == pytest.approx(value, rel=1e-5, abs=1e-8)
    assert set(found["optimizer"]["momentum"]) == set(found["tensors"])
    assert {"name": "/state", "is": "group"}.items() <= next(
        item for item in found["tree"] if item["name"] == "/state").items()


def test_what_differs(lab):
    text = inspect(lab, "--diff", "runs/run1", "runs/run2", code=1)
    assert "config run.seed: 1 | 2" in text and "/model/0.weight: largest difference" in text
    found = json.loads(inspect(lab, "--diff", "runs/run1", "runs/run2", "--json", code=1))
    a, b = (lab.out(name).model()["0.weight"] for name in ("run1", "run2"))
    assert found["values"]["/model/0.weight"]["largest_difference"] == pytest.approx(abs(a - b).max())
    assert "0 differ; 0 config" in inspect(lab, "--diff", "runs/run1", lab.out("run1").last)


def test_an_average_is_what_eval_takes(lab):
    inspect(lab, "--average", "runs/run1", "runs/run2", "-o", "mean.h5")
    with h5py.File(lab.dir / "mean.h5") as file:
        for name, value in lab.out("run1").model().items():
            other = lab.out("run2").model()[name]
            np.testing.assert_allclose(file["model"][name][()], (value + other) / 2, rtol=1e-6, atol=1e-7)
    result = lab.run("eval", "mean.h5").expect(0)
    assert not result.err and result.test_line()
    lab.train("run.name=other", model__layers="dense:5 relu", train__epochs=1)
    assert "another model" in inspect(lab, "--average", "runs/run1", "runs/other", "-o", "m.h5", code=4)
    assert not (lab.dir / "m.h5").exists()


def test_an_edited_file_is_told_and_sealed(lab, copy):
    with h5py.File(copy, "r+") as file:
        file["model/0.bias"][0] = 0.5
    assert "DIGEST WRONG" in inspect(lab, copy, code=4)
    assert "digest" in lab.run("eval", copy).expect(0).err
    inspect(lab, "--seal", copy)
    assert "digest good" in inspect(lab, copy)
    assert not lab.run("eval", copy).expect(0).err


def test_damage_is_exit_4(lab, copy):
    raw = bytearray(copy.read_bytes())
    copy.write_bytes(raw[:len(raw) // 2])
    assert "copy.h5" in inspect(lab, copy, code=4)
    for at in range(512, len(raw), len(raw) // 7):  # whatever the library makes of it
        copy.write_bytes(raw[:at] + b"\xff" * 40 + raw[at + 40:])
        inspect(lab, copy, code=4)
    assert "can't be read" in inspect(lab, "nowhere.h5", code=4)
    assert "no run" in inspect(lab, lab.dir, code=4)


def test_values_that_are_not_finite_are_told(lab, copy):
    with h5py.File(copy, "r+") as file:
        file["model/0.bias"][0] = np.nan
    inspect(lab, "--seal", copy)
    assert "1 NOT FINITE" in inspect(lab, copy, code=4)


@pytest.mark.parametrize("args", [[], ["--diff", "a"], ["--average", "a", "b"], ["-o", "x", "a"],
                                  ["--diff", "--seal", "a", "b"]])
def test_usage(lab, args):
    inspect(lab, *args, code=2)


def test_the_other_scripts_find_pythons_own_inspect(lab):
    """Its folder comes first where Python looks for modules."""
    done = subprocess.run([sys.executable, "-c", "import inspect, dataclasses; print(inspect.signature(len))"],
                          cwd=REPO / "scripts", text=True, capture_output=True, check=False)
    assert done.stdout == "(obj, /)\n", done.stderr


def test_a_damaged_file_is_averaged_with_a_warning_or_not_at_all(lab, copy, tmp_path):
    with h5py.File(copy, "r+") as file:
        file["model/0.weight"][0, 0] = 7
    done = subprocess.run([sys.executable, REPO / "scripts/inspect.py", "--average", copy, lab.out("run2").last,
                           "-o", tmp_path / "mean.h5"], cwd=lab.dir, text=True, capture_output=True, check=False)
    assert done.returncode == 0 and "warning" in done.stderr and "digest" in done.stderr
    with h5py.File(copy, "r+") as file:
        file["model/0.weight"][0, 0] = np.inf
    assert "0.weight has values that are no numbers" in inspect(
        lab, "--average", copy, lab.out("run2").last, "-o", tmp_path / "no.h5", code=4)
    assert not (tmp_path / "no.h5").exists()


def test_bytes_changed_at_random_end_in_a_line(lab, copy, tmp_path):
    """A script must be able to tell damage (4) from a difference (1)."""
    other, rng = lab.out("run2").last, np.random.default_rng(7)
    raw = np.fromfile(copy, np.uint8)
    for n in range(12):
        changed = raw.copy()
        changed[rng.integers(512, 6000 if n % 2 else len(raw), 6)] ^= np.uint8(1 << n % 8)
        changed.tofile(copy)
        for args in ([], ["--diff"], ["--average"]):
            more = [other, "-o", tmp_path / "mean.h5"] if args == ["--average"] else [other] * bool(args)
            done = subprocess.run([sys.executable, REPO / "scripts/inspect.py", *args, copy, *more], cwd=lab.dir,
                                  text=True, capture_output=True, check=False)
            assert "Traceback" not in done.stderr and done.returncode in (0, 1, 4), done.stderr
            assert done.returncode != 1 or args == ["--diff"] and "differ" in done.stdout


def test_foreign_files_that_are_good_are_shown(lab, tmp_path):
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file.attrs["to"] = file.create_group("model").ref
        file.attrs["complex"] = 1 + 2j
        file["model/0.weight"] = np.zeros((0, 3), "f4")
    assert "no digest" in inspect(lab, tmp_path / "foreign.h5")
    assert json.loads(inspect(lab, tmp_path / "foreign.h5", "--json"))[0]["tensors"]["0.weight"]["shape"] == [0, 3]


def test_what_is_no_file_is_said(lab, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        assert "is no file" in inspect(lab, path, code=4)

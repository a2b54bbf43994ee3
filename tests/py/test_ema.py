"""train.ema: the average is what is scored and kept in /model; training goes on from
/optimizer/raw, and neither depends on the layout or on stops."""

import h5py
import numpy as np
import pytest

from helpers import Lab, assert_same_bits

EMA = "train.ema=0.95"
FORCES = {"optimizer__momentum": 0.9, "optimizer__lr": 0.05, "train__epochs": 2,
          "model__layers": "dense:90 relu dense:19 relu"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory, data):
    """A run with the average in runs/average, and one without in runs/plain."""
    lab = Lab(tmp_path_factory.mktemp("ema"), data)
    lab.config(**FORCES)
    lab.run("run.ini", "run.name=average", EMA, "checkpoint.every_steps=1",
            "checkpoint.keep=100").expect(0)
    lab.run("run.ini", "run.name=plain").expect(0)
    return lab


def group(path, name):
    with h5py.File(path, "r") as file:
        return {key: values[...] for key, values in file[name].items()}


def assert_equal(got, expected, what):
    assert got.keys() == expected.keys(), what
    assert all((got[name] == expected[name]).all() for name in got), what


def test_the_average_is_pytorchs(lab):
    """As AveragedModel: the first step's parameters, then average + (1 - decay) (new - average)."""
    files = sorted((lab.out("average").path / "checkpoints").glob("step-*.h5"))
    assert len(files) == 20
    weight, expected = np.float32(1 - 0.95), None
    for path in files:
        raw = group(path, "optimizer/raw")
        expected = raw if expected is None else {
            name: old + weight * (raw[name] - old) for name, old in expected.items()}
        for name, values in group(path, "model").items():
            assert values.dtype == np.float32 and (values == expected[name]).all(), (path, name)


def test_training_is_that_of_a_run_without_it(lab):
    raw = group(lab.out("average").last, "optimizer/raw")
    assert_equal(raw, group(lab.out("plain").last, "model"), "raw")
    for column in ("loss", "grad_norm"):
        assert (lab.out("average").table("steps")[column] ==
                lab.out("plain").table("steps")[column]).all()
    epochs = {name: lab.out(name).table("epochs") for name in ("average", "plain")}
    assert (epochs["average"]["train_loss"] == epochs["plain"]["train_loss"]).all()
    assert (epochs["average"]["test_loss"] != epochs["plain"]["test_loss"]).all()


def test_the_average_is_what_is_scored(lab):
    """In the run, by eval, and by a trainer that knows its numbers alone."""
    row = lab.out("average").table("epochs")[-1]
    scored = lab.run("eval", str(lab.out("average").last))
    assert f"loss {row['test_loss']:.4f}  accuracy {100 * row['test_accuracy']:.2f}%" in \
        scored.expect(0).out
    lab.run("run.ini", "run.name=alone", "model.init=file", "train.max_steps=1",
            f"model.init_file={lab.out('average').last}", "optimizer.lr=0", "optimizer.momentum=0"
            ).expect(75)
    assert_equal(lab.out("alone").model(), lab.out("average").model(), "init = file")


LAYOUTS = [(None, "parallel.threads=3"), (2,), (5, "parallel.threads=2"),
           (3, "parallel.overlap=on"), (None, "optimizer.clip_norm=1e9")]


@pytest.mark.parametrize("apart", [False, True])
def test_layouts_and_stops_change_no_bit(lab, apart, refuse):
    """apart: without shared memory, as on several hosts."""
    env = {"LD_PRELOAD": str(refuse), "REFUSE_SHARED": "1"} if apart else {}
    expected = lab.out("average").bits()
    for n, (ranks, *args) in enumerate(LAYOUTS):
        if apart and ranks is None:
            continue
        name = f"layout{n}{apart}"
        lab.run("run.ini", f"run.name={name}", EMA, *args, ranks=ranks,
                env=env).expect(0)
        assert_same_bits(lab.out(name).bits(), expected, f"{ranks} ranks, {args}")
    name = f"run.name=stopped{apart}"
    lab.run("run.ini", name, EMA, "train.max_steps=1", ranks=3, env=env).expect(75)
    lab.run("run.ini", name, EMA, "train.max_steps=12", "checkpoint.every_steps=5").expect(75)
    lab.run("run.ini", name, EMA, ranks=2, env=env).expect(0)
    assert_same_bits(lab.out(f"stopped{apart}").bits(), expected, "stopped twice")


@pytest.mark.parametrize("more", ["optimizer.name=adamw", "train.zero_grad=false",
                                  "optimizer.name=lamb", "model.freeze=0"])
def test_with_any_optimizer(lab, more):
    name = more.replace("=", "-")
    lab.run("run.ini", f"run.name={name}", EMA, more).expect(0)
    lab.run("run.ini", f"run.name={name}-plain", more, ranks=2).expect(0)
    raw = group(lab.out(name).last, "optimizer/raw")
    assert_equal(raw, group(lab.out(f"{name}-plain").last, "model"), more)


@pytest.mark.parametrize("value", ["1", "-0.1", "nan", "much"])
def test_a_decay_that_is_none_is_refused(lab, value):
    lab.run("run.ini", "run.name=bad", f"train.ema={value}").fails(2, "train.ema")


def test_it_may_not_change_on_a_resume(lab):
    lab.run("run.ini", "run.name=change", EMA, "train.max_steps=3").expect(75)
    lab.run("run.ini", "run.name=change", "train.ema=0").fails(2, "train.ema: 0.95 -> 0")


def test_a_checkpoint_without_the_raw_parameters_is_refused(lab):
    lab.run("run.ini", "run.name=cut", EMA, "train.max_steps=3").expect(75)
    with h5py.File(lab.out("cut").last, "r+") as file:
        del file["optimizer/raw/0.weight"]
    lab.run("eval", str(lab.out("cut").last)).fails(4, "/optimizer/raw/0.weight")

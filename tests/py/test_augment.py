"""[augment]: images change anew each epoch, in the same way on any layout and after any stop."""

import re
import subprocess
import sys

import h5py
import numpy as np
import pytest

from helpers import REPO, TRAINER, Lab, assert_same_bits, environment

ALL = {"shift": 2, "rotate": 15, "scale": 0.15, "shear": 0.1, "flip": 0.4, "elastic": 3, "elastic_sigma": 3,
       "erase": 0.3}
WORDS = tuple(f"augment.{key}={value}" for key, value in ALL.items())


@pytest.fixture(scope="module")
def lab(tmp_path_factory, data):
    lab = Lab(tmp_path_factory.mktemp("augment"), data)
    lab.config(model__layers="dense:40 relu", train__epochs=3, optimizer__lr=0.05,
               optimizer__momentum=0.9)
    lab.run("run.ini", "run.name=all", *WORDS).expect(0)
    return lab


def shown(lab, *args):
    """Labels and values of samples, as `trainer show --flat` prints them."""
    out = lab.run("show", "run.ini", "--flat", *args).expect(0).out
    parts = re.split(r"^train \d+:", out, flags=re.M)[1:]
    return [part.split("\n")[0] for part in parts], np.array(
        [[float(v) for v in part.partition("\n")[2].split()] for part in parts])


def test_layouts_and_stops_change_no_bit(lab):
    expected = lab.out("all").bits()
    for n, (ranks, *args) in enumerate([(None, "parallel.threads=3"), (3,), (5, "parallel.threads=2"),
                                        (None, "parallel.kernels=portable")]):
        lab.run("run.ini", f"run.name=layout{n}", *WORDS, *args, ranks=ranks).expect(0)
        assert_same_bits(lab.out(f"layout{n}").bits(), expected, f"{ranks} {args}")
    lab.run("run.ini", "run.name=stopped", *WORDS, "train.max_steps=13", ranks=2).expect(75)
    lab.run("run.ini", "run.name=stopped", *WORDS).expect(0)
    assert_same_bits(lab.out("stopped").bits(), expected, "stopped in the second epoch")


@pytest.mark.parametrize("word", [word for word in WORDS if "sigma" not in word])
def test_each_amount_changes_what_is_trained_on_and_not_what_is_scored(lab, word):
    name = word.split("=")[0].split(".")[1]
    lab.run("run.ini", f"run.name={name}", word, "train.epochs=1", "optimizer.lr=0",
            "optimizer.momentum=0").expect(0)
    lab.run("run.ini", f"run.name={name}-not", "train.epochs=1", "optimizer.lr=0",
            "optimizer.momentum=0").expect(0)
    epochs = [lab.out(n).table("epochs")[0] for n in (name, f"{name}-not")]
    assert epochs[0]["train_loss"] != epochs[1]["train_loss"]
    assert epochs[0]["test_loss"] == epochs[1]["test_loss"]
    scored = [lab.run("eval", f"runs/{n}").expect(0).out for n in (name, f"{name}-not")]
    assert scored[0] == scored[1]


def test_epochs_and_samples_differ_and_are_shown(lab):
    """With one sample at a learning rate of 0 the loss is that of what show prints."""
    labels, plain = shown(lab, "--index", "0-9")
    again, first = shown(lab, "--index", "0-9", "--augment", "1", *WORDS)
    assert again == labels and first.shape == plain.shape
    assert (first != plain).any(axis=1).all()
    assert (first != shown(lab, "--index", "0-9", "--augment", "2", *WORDS)[1]).any(axis=1).all()
    assert (first == shown(lab, "--index", "0-9", "--augment", "1", *WORDS)[1]).all()
    assert (first == shown(lab, "--index", "9-9", "--augment", "1", *WORDS, "run.seed=42")[1]
            ).all(axis=1)[9]
    lab.run("run.ini", "run.name=one", *WORDS, "data.limit=1", "train.batch_size=1",
            "train.epochs=1", "optimizer.lr=0", "optimizer.momentum=0", "data.test=").expect(0)
    model = lab.out("one").model()
    hidden = np.maximum(first[0] @ model["0.weight"].T + model["0.bias"], 0)
    z = hidden @ model["2.weight"].T + model["2.bias"]
    loss = np.log(np.exp(z).sum()) - z[int(labels[0].split()[-1])]
    assert lab.out("one").table("steps")["loss"][0] == pytest.approx(loss, rel=1e-4)


def test_pixels_that_are_floats_become_what_bytes_become_but_for_rounding(lab, arrays):
    with h5py.File(lab.dir / "float.h5", "w") as file:
        file["images"] = arrays["train"][0].astype("f4")
        file["labels"] = arrays["train"][1]
    args = ("--index", "0-5", "--augment", "3", *WORDS, "data.normalize=none")
    _, as_bytes = shown(lab, *args)
    _, as_floats = shown(lab, *args, "data.dir=", "data.train=float.h5")
    assert 0.2 < np.abs(as_floats - as_bytes).max() <= 0.5001


@pytest.mark.parametrize("word", ["shift=-1", "shift=1001", "rotate=181", "scale=1", "shear=nan", "flip=2",
                                  "elastic=-1", "elastic_sigma=0.4", "erase=1.1", "erase=some"])
def test_amounts_that_are_none_are_refused(lab, word):
    lab.run("run.ini", "run.name=bad", f"augment.{word}").fails(2, f"augment.{word.split('=')[0]}")


def test_tables_and_other_splits_have_none(lab):
    (lab.dir / "t.csv").write_text("a,b,y\n" + "1,2,0\n3,4,1\n" * 20)
    lab.run("run.ini", "run.name=table", "data.dir=", "data.train=t.csv", "augment.shift=1",
            "train.batch_size=4").fails(2, "[augment]", "2 numbers")
    assert not lab.out("table").path.exists()
    show = ("show", "run.ini", "--augment")
    lab.run(*show, "1").fails(2, "no [augment]")
    lab.run(*show, "0", *WORDS).fails(2, "--augment 0")
    lab.run(*show, "x", *WORDS).fails(2, "--augment x")
    lab.run(*show, "1", "--split", "test", *WORDS).fails(2, "--split train")


def test_it_may_not_change_on_a_resume(lab):
    lab.run("run.ini", "run.name=change", *WORDS, "train.max_steps=3").expect(75)
    lab.run("run.ini", "run.name=change", *WORDS, "augment.shift=3").fails(2, "augment.shift: 2 -> 3")


def test_the_run_says_what_it_does(lab):
    assert "\naugment shift 2  rotate 15  scale 0.15  shear 0.1  flip 0.4  elastic 3  erase 0.3\n" in \
        lab.run("check", "run.ini", *WORDS).expect(0).out


@pytest.mark.parametrize("option", ["--data", "--augment"])
def test_pictures_of_samples(lab, option):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    done = subprocess.run([sys.executable, REPO / "scripts/plot.py", option, "run.ini", *WORDS],
                          cwd=lab.dir, env=environment(False, TRAINER=str(TRAINER)),
                          capture_output=True, text=True)
    assert done.stdout == f"run-{option[2:]}.png\n", done.stderr
    raw = (lab.dir / done.stdout.strip()).read_bytes()
    assert raw[:8] == b"\x89PNG\r\n\x1a\n" and len(raw) > 20000

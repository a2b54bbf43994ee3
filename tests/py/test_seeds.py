"""scripts/seeds.py: what one config reaches with several seeds."""

import csv
import os
import statistics
import subprocess
import sys

import pytest

from helpers import REPO, TRAINER

pytest.importorskip("optuna", reason="optuna is not installed")


def seeds(lab, *args, code=0):
    done = subprocess.run([sys.executable, REPO / "scripts/seeds.py", "run.ini", *args], cwd=lab.dir,
                          env={**os.environ, "TRAINER": str(TRAINER)}, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def table(lab, name="run-seeds"):
    with open(lab.dir / f"runs/sweeps/{name}/seeds.csv", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_the_table_is_of_the_last_epochs_and_more_seeds_are_added(lab):
    lab.config(train__epochs=2)
    seeds(lab, "-n", "2", "model.layers=dense:8 relu")
    first = table(lab)
    said = seeds(lab, "-n", "3", "model.layers=dense:8 relu").stdout
    rows = table(lab)
    assert rows[:2] == first and [row["seed"] for row in rows] == [1, 2, 3]
    for row in rows:
        lab.run("run.ini", f"run.name=alone{row['seed']:g}", f"run.seed={row['seed']:g}",
                "model.layers=dense:8 relu").expect(0)
        epoch = lab.out(f"alone{row['seed']:g}").table("epochs")[-1]
        assert row["test_accuracy"] == epoch["test_accuracy"]
        assert row["train_loss"] == epoch["train_loss"] and row["epochs"] == 2
    accuracies = [row["test_accuracy"] for row in rows]
    for what, value in (("mean", statistics.mean(accuracies)), ("worst", min(accuracies)),
                        ("deviation", statistics.stdev(accuracies))):
        assert f"{what:>15s}{value:15.6g}" in said, said
    assert "1 thread a run" in said


def test_with_a_validation_split_the_test_set_is_scored_once_a_seed(lab):
    lab.config(train__epochs=2, data__validation=40)
    seeds(lab, "-n", "1", "--name", "held")
    row, = table(lab, "held")
    assert list(row) == ["seed", "val_accuracy", "test_accuracy", "train_loss", "epochs", "seconds"]
    lab.run("run.ini", "run.seed=1", "checkpoint.best=val_accuracy").expect(0)
    assert row["test_accuracy"] == lab.out().attr("/", "test_accuracy", lab.out().path / "metrics.h5")


def test_regression_goes_by_r2(lab):
    (lab.dir / "t.csv").write_text("a,y\n" + "".join(f"{i / 50},{i / 25 + i % 3 / 9}\n"
                                                     for i in range(50)))
    lab.config(data__dir=None, data__train="t.csv", data__test="t.csv", loss__name="mse",
               train__batch_size=10, train__epochs=3, model__layers="")
    seeds(lab, "-n", "2")
    assert "test_r2" in table(lab)[0]


@pytest.mark.parametrize("args, says", [
    (["-n", "0"], "-n takes"), (["optimizer.lrr=1"], "optimizer.lr"), (["nothing"], "section.key"),
    (["run.name=x"], "run.name"), (["train.epochs=0"], "train.epochs")])
def test_what_can_not_be_is_said(lab, args, says):
    lab.config()
    assert says in seeds(lab, *args, code=2).stderr

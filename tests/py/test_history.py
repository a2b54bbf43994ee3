"""What a run writes and when, and what a start does with the history that is there."""

import os
import shutil
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest

from helpers import TRAIN, Run, assert_same_bits, make_set, write_idx

NEVER = {"metrics__flush": 600}  # metrics.h5 is written at the start and at the end only
# Epochs of 603 steps, so that the lines of some seconds fit the pipe that nobody reads.
ENDLESS = {"train__epochs": 100000, "train__batch_size": 1, "train__log_every": 1000000,
           "metrics__flush": 0, "checkpoint__best": "none"}


def carried(path):
    """The steps and epochs of the rows in a checkpoint: (steps, epochs, epochs of the profile)."""
    with h5py.File(path, "r") as file:
        return [file[f"metrics/{name}"][column].tolist() if f"metrics/{name}" in file else []
                for name, column in (("steps", "step"), ("epochs", "epoch"), ("profile", "epoch"))]


def written():
    """Bytes written by this process and by those it has waited for."""
    text = Path("/proc/self/io").read_text()
    return int(dict(line.split(": ") for line in text.splitlines())["wchar"])


def assert_best_is(run, step):
    assert os.readlink(run.best) == f"step-{step:08d}.h5"


def assert_same_model(run, path, other, other_path):
    model, expected = run.model(path), other.model(other_path)
    assert model.keys() == expected.keys()
    assert all((model[name] == expected[name]).all() for name in model)


def best_step(run, column="test_loss"):
    epochs = run.table("epochs")
    return int(epochs["step"][np.nanargmin(epochs[column])])


# ---- what is written ----

def test_checkpoints_carry_the_rows_that_metrics_lacks_and_no_more(lab):
    lab.train("train.max_steps=13", "checkpoint.every=0", code=75, train__epochs=3,
              checkpoint__every=1, checkpoint__keep=10, checkpoint__best="none", **NEVER)
    at = lab.out().checkpoints
    assert carried(at / "step-00000013.h5") == [list(range(1, 14)), [1], [1]]
    lab.run("run.ini").expect(0)
    assert carried(at / "step-00000020.h5") == [list(range(14, 21)), [2], [2]]
    assert carried(at / "step-00000030.h5") == [list(range(14, 31)), [2, 3], [2, 3]]


def test_rows_that_outweigh_the_state_stay_out_of_the_last_checkpoint(lab):
    lab.config(train__epochs=200, checkpoint__every=0, checkpoint__best="none", **NEVER)
    for steps, code in ((1000, 75), (0, 0)):
        lab.run("run.ini", f"train.max_steps={steps}").expect(code)
        assert carried(lab.out().last) == [[], [], []]
    assert lab.out().table("steps")["step"].tolist() == list(range(1, 2001))


def test_rows_are_not_carried_over_and_over(lab):
    """Where they would come to outweigh the state, metrics.h5 is written first."""
    lab.train(train__epochs=100, model__layers="", checkpoint__every=1, checkpoint__keep=100,
              **NEVER)
    sizes = [path.stat().st_size for path in lab.out().checkpoints.glob("step-*.h5")]
    assert len(sizes) == 100 and max(sizes) <= 3.5 * min(sizes), (min(sizes), max(sizes))
    assert lab.out().table("epochs")["epoch"].tolist() == list(range(1, 101))


def test_bytes_are_at_most_20_times_the_files(lab):
    """500 short epochs that nearly all improve: each with a checkpoint, it was 230 times."""
    before = written()
    lab.train(train__epochs=500, data__limit=128, model__layers="", optimizer__lr=0.001)
    bytes_written = written() - before
    run = lab.out()
    final = sum(p.stat().st_size for p in run.path.rglob("*")
                if p.is_file() and not p.is_symlink())
    assert len(run.table("epochs")) == 500
    assert bytes_written <= 20 * final, f"{bytes_written / final:.1f} times {final} bytes"
    assert_best_is(run, best_step(run))


def test_a_kill_loses_no_row_of_any_table(lab):
    lab.config(**{**ENDLESS, **NEVER, "checkpoint__every": 1, "checkpoint__keep": 1})
    job = lab.start("run.ini")
    job.wait_for(lambda: lab.out().last.exists() and
                 lab.out().last.resolve().name > f"step-{2 * TRAIN:08d}.h5")
    job.kill()
    epoch = int(lab.out().attr("state", "epoch"))
    lab.run("run.ini", f"train.epochs={epoch + 1}").expect(0)
    for name in ("epochs", "profile"):
        assert lab.out().table(name)["epoch"].tolist() == list(range(1, epoch + 2)), name
    assert lab.out().table("steps")["step"].tolist() == list(range(1, TRAIN * (epoch + 1) + 1))


def test_metrics_that_cannot_be_written_keep_no_checkpoint_waiting(lab):
    """Rows of an epoch outweigh the state, and metrics.h5 would be written first."""
    slow, epoch = " ".join(["dense:32 relu"] * 40), 4000
    write_idx(lab.dir / "own", make_set(epoch, 1), make_set(31, 2))
    lab.config(**{**ENDLESS, **NEVER, "data__dir": lab.dir / "own", "model__layers": slow})
    job = lab.start("run.ini")
    metrics = lab.out().metrics
    job.wait_for(metrics.exists)
    metrics.unlink()
    metrics.mkdir()
    late = f"step-{2 * epoch:08d}.h5"
    job.wait_for(lambda: lab.out().steps_kept()[-1:] > [late], 30)
    os.kill(job.pid, signal.SIGTERM)
    result = job.end().expect(4)
    assert "training goes on" in result.err
    step = int(lab.out().attr("state", "step"))
    metrics.rmdir()
    lab.run("run.ini", "train.max_steps=1").expect(75)
    assert lab.out().table("steps")["step"].tolist() == list(range(1, step + 2))


def test_metrics_that_are_gone_are_told(lab):
    lab.train("train.max_steps=13", code=75)
    lab.out().metrics.unlink()
    result = lab.run("run.ini").expect(0)
    assert "metrics.h5 is gone" in result.err and "up to 13" in result.err


# ---- the best one, which may be written late ----

@pytest.mark.parametrize("ranks", [None, 2])
def test_best_is_exact_when_the_run_has_stopped(lab, ranks):
    """Late or with each checkpoint: the same file by the name of best.h5."""
    keys = {"train__epochs": 9, "optimizer__lr": 0.9, "optimizer__momentum": 0.9}
    lab.config(**keys, checkpoint__every=0)
    lab.run(lab.config("each.ini", **keys, checkpoint__every=1, checkpoint__keep=20)).expect(0)
    for stop in (37, 29, 0):
        lab.run("run.ini", f"train.max_steps={stop}", "run.output=runs/run", ranks=ranks).expect(
            75 if stop else 0)
        run, each = lab.out(), lab.out("each")
        best = best_step(run)
        assert_best_is(run, best)
        assert_same_model(run, run.best, each, each.checkpoints / f"step-{best:08d}.h5")
        assert run.attr("state", "best_step") == best
    assert_same_bits(run.bits(), each.bits(), "stopped twice")


def test_best_is_exact_with_full_batches(lab):
    lab.train(train__epochs=30, train__batch_size=0, optimizer__lr=1,
              optimizer__momentum=0.9, checkpoint__keep=1)
    run = lab.out()
    assert best_step(run) < 30, "the best epoch must not be the last one"
    assert set(run.steps_kept()) == {f"step-{best_step(run):08d}.h5", "step-00000030.h5"}
    assert_best_is(run, best_step(run))


def test_best_is_exact_when_the_run_has_diverged(lab):
    lab.config(optimizer__weight_decay=25, train__epochs=100, checkpoint__every=0,
               checkpoint__best="train_loss", checkpoint__keep=1)
    result = lab.run("run.ini").fails(5)
    run = lab.out()
    best = best_step(run, "train_loss")
    assert run.steps_kept() == [f"step-{best:08d}.h5"]
    assert os.readlink(run.best) == os.readlink(run.last) == f"step-{best:08d}.h5"
    assert f"checkpoint of step {best} is kept" in result.err


def test_best_of_a_killed_run_is_found_again(lab):
    """No checkpoint of a later step comes to the disk before the best one."""
    keys = {"train__epochs": 100000, "optimizer__lr": 0.9, "optimizer__momentum": 0.9,
            "checkpoint__every": 0, "checkpoint__every_steps": 7}
    lab.config(**keys)
    job = lab.start("run.ini", ranks=2)
    job.wait_for(lambda: lab.out().last.exists() and
                 lab.out().last.resolve().name > "step-00000100.h5")
    job.kill(*job.ranks())
    run = lab.out()
    best = run.attr("state", "best_step")
    assert_best_is(run, best)
    epochs = int(run.attr("state", "epoch")) + 2
    lab.run("run.ini", f"train.epochs={epochs}").expect(0)
    lab.run(lab.config("whole.ini", **{**keys, "train__epochs": epochs})).expect(0)
    assert_same_bits(run.bits(), lab.out("whole").bits(), "killed")
    assert os.readlink(run.best) == os.readlink(lab.out("whole").best)
    assert_same_model(run, run.best, lab.out("whole"), lab.out("whole").best)


def test_the_clock_of_auto_changes_no_bit_on_any_ranks(lab):
    keys = {"train__epochs": 60, "optimizer__momentum": 0.9, "metrics__flush": 0}
    lab.train(**keys, ranks=3)
    lab.run(lab.config("each.ini", **keys, checkpoint__every=1)).expect(0)
    assert_same_bits(lab.out().bits(), lab.out("each").bits(), "auto")
    assert os.readlink(lab.out().best) == os.readlink(lab.out("each").best)


# ---- a start where no checkpoint can be read ----

def killed(lab, condition, **keys):
    """A run that was killed once the condition held."""
    lab.config(**{**ENDLESS, **keys})
    job = lab.start("run.ini")
    job.wait_for(condition)
    job.kill()
    assert lab.out().status() == "running"
    return lab.out()


def refused(lab, code, *mentions):
    before = lab.out().files()
    result = lab.run("run.ini", "train.epochs=3").fails(code, *mentions, "run.overwrite=true")
    assert lab.out().files() == before, "a refused start changed the folder"
    return result


def starts_anew(lab, *overrides):
    lab.run("run.ini", "train.epochs=2", *overrides).expect(0)
    assert lab.out().table("steps")["step"].tolist() == list(range(1, 2 * TRAIN + 1))
    assert lab.out().status() == "complete"


def test_killed_before_its_first_checkpoint_starts_anew_and_says_so(lab):
    run = Run(lab.dir / "runs/run")
    killed(lab, lambda: run.metrics.exists() and len(run.table("steps")) > 0,
           checkpoint__every=0, metrics__every=100)
    step = run.table("steps")["step"][-1]
    result = lab.run("run.ini", "train.epochs=2").expect(0)
    assert f"ended after step {step} or later, before its first checkpoint" in result.out
    assert run.table("steps")["step"].tolist() == list(range(1, 2 * TRAIN + 1, 100))


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def with_checkpoints(lab):
    """A killed run whose metrics.h5 has rows and knows of checkpoints."""
    run = Run(lab.dir / "runs/run")

    def ready():
        return run.last.exists() and len(run.table("steps")) > 0
    return killed(lab, ready, checkpoint__every_steps=50)


def test_history_whose_checkpoints_are_gone_is_not_overwritten(lab):
    run = with_checkpoints(lab)
    rows = run.table("steps")
    empty(run.checkpoints)
    refused(lab, 2, f"{len(rows)} steps of history", f"up to step {rows['step'][-1]}", "gone")
    starts_anew(lab, "run.overwrite=true")


@pytest.mark.parametrize("metrics, history", [(True, "steps of history"), (False, "no history")])
def test_damaged_checkpoints_are_not_overwritten(lab, metrics, history):
    run = with_checkpoints(lab)
    names = run.steps_kept()
    for name in names:
        (run.checkpoints / name).write_bytes(b"no checkpoint\n" * 100 if metrics else b"")
    if not metrics:
        run.metrics.unlink()
    lab.run("run.ini", "train.epochs=3").fails(4, history, f"{len(names)} damaged")
    refused(lab, 4, history, *(f"{name}.damaged" for name in names))
    starts_anew(lab, "run.overwrite=true")
    assert not list(run.checkpoints.glob("*.damaged"))


def test_damaged_metrics_without_a_checkpoint_are_not_overwritten(lab):
    run = with_checkpoints(lab)
    empty(run.checkpoints)
    run.metrics.write_bytes(run.metrics.read_bytes()[:700])
    refused(lab, 4, "metrics.h5")
    starts_anew(lab, "run.overwrite=true")


# ---- fewer epochs than there have been ----

def test_fewer_epochs_than_taken_are_refused(lab):
    lab.train("train.max_steps=13", code=75, train__epochs=3)
    before = lab.out().files()
    lab.run("run.ini", "train.epochs=1").fails(2, "train.epochs = 1", "step 13", "epoch 2")
    assert lab.out().files() == before
    lab.run("run.ini", "train.epochs=2").expect(0)
    assert lab.out().status() == "complete"
    lab.run("run.ini", "train.epochs=1").fails(2, "train.epochs = 1", "step 20", "epoch 2")
    assert "is complete" in lab.run("run.ini", "train.epochs=2").expect(0).out


def test_complete_is_what_the_checkpoint_says(copy):
    """Where the last one is damaged, an older one is not the end of the run."""
    expected = copy.out().bits()
    copy.out().last.resolve().write_bytes(b"gone")
    result = copy.run("run.ini").expect(0)
    assert "step-00000030.h5" in result.err and "resume  from step 20" in result.out
    assert_same_bits(copy.out().bits(), expected, "completed again")
    assert copy.out().status() == "complete"


def test_a_score_that_only_a_last_epoch_has_is_noted(lab):
    lab.train(train__epochs=3, train__eval_every=2)
    result = lab.run("run.ini", "train.epochs=4").expect(0)
    assert "epoch 3 was scored because it was the last" in result.err, str(result)

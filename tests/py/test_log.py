"""run.log, and the bar that a terminal shows while a run trains."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
import time

import pytest

from helpers import TRAINER, environment


@pytest.mark.parametrize("ranks", [None, 2])
def test_lines_are_kept_and_added_to(lab, ranks):
    lab.config(model__layers="dense:8 relu", train__epochs=3, run__log="true")
    first = lab.run("run.ini", "train.max_steps=5", ranks=ranks).expect(75)
    path = lab.dir / "runs/run/log.txt"
    assert path.read_text() == first.out
    second = lab.run("run.ini", ranks=ranks).expect(0)
    assert path.read_text() == first.out + second.out
    third = lab.run("run.ini", "run.overwrite=true", "optimizer.lr=0.2", ranks=ranks).expect(0)
    assert path.read_text() == third.out, "anew"


def test_the_error_is_in_it_too(lab):
    lab.config(model__layers="dense:8 relu", run__log="true", optimizer__lr=1e30)
    result = lab.run("run.ini").expect(5)
    assert (lab.dir / "runs/run/log.txt").read_text().endswith(result.err)
    (lab.dir / "runs/other/log.txt").mkdir(parents=True)
    lab.run("run.ini", "run.name=other", "optimizer.lr=0.1").fails(4, "log.txt")


def on_terminal(lab, columns, *args):
    parent, child = pty.openpty()
    size = struct.pack("4H", 24, columns, 0, 0)
    fcntl.ioctl(child, termios.TIOCSWINSZ, size)
    run = subprocess.Popen([TRAINER, "run.ini", *args], cwd=lab.dir, stdout=child, stdin=subprocess.DEVNULL,
                           stderr=subprocess.STDOUT, env=environment(True))
    os.close(child)
    text = b""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            part = os.read(parent, 65536)
        except OSError:  # the other end is closed
            break
        text += part
    os.close(parent)
    assert run.wait(10) == 0
    return text.decode()


def test_a_terminal_has_few_lines_of_short_epochs(lab):
    """A file, a pipe and run.log have them all."""
    lab.config(model__layers="dense:8 relu", train__epochs=300)
    every = [f"epoch {n}/300" for n in range(1, 301)]

    def epochs(text):
        return re.findall(r"(?:^|\033\[K)(epoch \d+/300)  train", text, re.M)
    assert epochs(lab.run("run.ini").expect(0).out) == every
    seen = epochs(on_terminal(lab, 120, "run.name=seen"))
    assert seen[0] == every[0] and seen[-1] == every[-1] and len(seen) < 60, seen
    on_terminal(lab, 120, "run.name=kept", "run.log=true")
    assert epochs((lab.dir / "runs/kept/log.txt").read_text()) == every


@pytest.mark.parametrize("batch", [16, 0])
def test_quiet(lab, batch):
    lab.config(model__layers="dense:8 relu", train__epochs=3, train__batch_size=batch)
    loud = lab.run("run.ini").expect(0).out.splitlines()
    quiet = lab.run("run.ini", "run.name=quiet", "train.quiet=true").expect(0).out.splitlines()
    left_out = [line for line in loud if line.startswith(("loss: ", "epoch "))]
    assert len(left_out) >= 3 and len(quiet) == len(loud) - len(left_out), quiet
    assert quiet[-2].startswith("done ") and not [line for line in quiet if "epoch 1/" in line]


@pytest.mark.parametrize("columns", [120, 40])
def test_a_terminal_has_a_bar_that_fits(lab, columns):
    lab.config(model__layers="dense:256 relu dense:256 relu", train__epochs=60, train__batch_size=8,
               train__log_every=1000)
    text = on_terminal(lab, columns)
    bars = [part.split("\033[K")[0] for part in text.split("\r") if part.startswith("epoch [")]
    assert bars and all(len(bar) < columns for bar in bars)
    assert columns < 80 or any(re.fullmatch(
        r"epoch \[[#.]{30}\] +\d+%  loss \S+  \d+ samples/s  \d+:\d\d:\d\d left", bar) for bar in bars), bars
    plain = lab.run("run.ini", "run.name=plain", "train.epochs=1").expect(0).out
    assert "\r" not in plain and "[#" not in plain


# ---- --json ----

def objects(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("ranks", [None, 2])
def test_json_says_what_metrics_h5_says(lab, ranks):
    lab.config(model__layers="dense:8 relu", train__epochs=2, train__log_every=1, data__validation=40, run__log="true")
    result = lab.run("run.ini", "--json", ranks=ranks).expect(0)
    assert not result.err and (lab.dir / "runs/run/log.txt").read_text() == result.out
    found = objects(result.out)
    steps, epochs, (test,), (end,) = ([o for o in found if o["event"] == kind]
                                      for kind in ("step", "epoch", "test", "end"))
    run = lab.out("run")
    assert [(o["step"], o["loss"]) for o in steps] == [(r["step"], r["loss"]) for r in run.table("steps")]
    for ours, row in zip(epochs, run.table("epochs"), strict=True):
        assert ours["epochs"] == 2 and "test_loss" not in ours and "val_r2" not in ours
        assert all(ours[k] == row[k] for k in ("epoch", "step", "train_loss", "train_accuracy", "val_loss",
                                               "val_accuracy", "seconds", "samples_per_second"))
    scored = objects(lab.run("eval", "runs/run", "--json").expect(0).out)
    assert (test["test_loss"], test["test_accuracy"]) == (scored[0]["loss"], scored[0]["accuracy"])
    assert (end["status"], end["folder"], end["step"]) == ("complete", "runs/run", steps[-1]["step"])
    classes = [o for o in scored if o["event"] == "class"]
    assert [o["name"] for o in classes] == list("0123456789")
    right = sum(o["recall"] * o["samples"] for o in classes)
    assert right / scored[0]["samples"] == pytest.approx(scored[0]["accuracy"])


def test_json_of_a_regression_a_stop_a_warning_and_an_error(lab):
    (lab.dir / "t.csv").write_text("x,y\n" + "".join(f"{x},{2 * x + 1}\n" for x in range(40)))
    lab.config(data__dir=None, data__train="t.csv", data__test="t.csv", loss__name="mse", train__epochs=3,
               optimizer__lr=1e-4, train__batch_size=8)
    stopped = objects(lab.run("run.ini", "--json", "train.max_steps=5").expect(75).out)
    assert stopped[-1]["event"] == "end" and stopped[-1]["status"] == "stopped"
    row = [o for o in objects(lab.run("run.ini", "--json").expect(0).out) if o["event"] == "epoch"][-1]
    assert row["test_r2"] < 1 and "test_accuracy" not in row
    scored = objects(lab.run("eval", "runs/run", "--json").expect(0).out)
    assert [o["event"] for o in scored] == ["eval", "target"] and scored[1]["name"] == "y"
    assert scored[0]["r2"] == pytest.approx(scored[1]["r2"])
    result = lab.run("run.ini", "run.name=other", "--json", "data.train=none.csv").expect(3)
    (error,) = objects(result.err)
    assert error["event"] == "error" and "none.csv" in error["text"]
    result = lab.run('q"\t\\\x01.ini', "--json").expect(2)
    assert 'q"\t\\\\x01.ini' in objects(result.err)[0]["text"]
    lab.run("check", "run.ini", "--json").fails(2, "--json")

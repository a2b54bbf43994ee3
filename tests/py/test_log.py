"""run.log, and the bar that a terminal shows while a run trains."""

import fcntl
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

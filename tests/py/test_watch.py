"""scripts/watch.py: runs are followed from metrics.h5 alone."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from helpers import REPO, Lab, Process


def command(*args):
    return [sys.executable, str(REPO / "scripts/watch.py"), *map(str, args)]


def watch(lab, *args, code=0, **env):
    done = subprocess.run(command(*args), cwd=lab.dir, text=True, capture_output=True, check=False, timeout=60,
                          env={**os.environ, "COLUMNS": "60", **env})
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def lab(tmp_path_factory, data):
    lab = Lab(tmp_path_factory.mktemp("watch"), data)
    lab.train("run.name=done", model__layers="dense:12 relu", train__epochs=3, optimizer__lr=0.05)
    return lab


def test_a_run_that_has_ended(lab):
    out = watch(lab, "runs/done")
    epochs = lab.out("done").table("epochs")
    first, second, *curve = out.splitlines()
    assert f"complete  step {epochs['step'][-1]} of {epochs['step'][-1]}" in first and "left" not in first
    assert f"epoch 3  train_loss {epochs['train_loss'][-1]:.4g}" in second
    assert f"test_accuracy {100 * epochs['test_accuracy'][-1]:.2f}%" in second
    assert len(curve) == 8 and max(map(len, out.splitlines()[2:])) <= 60 and "\033" not in out
    assert all(re.fullmatch(r"[\d. e+-]{9} [\u2800-\u28ff]+", line) for line in curve)


def test_a_run_that_trains_is_followed_to_its_end(lab):
    lab.config(model__layers="dense:12 relu", train__epochs=1000000, metrics__flush=0.2, metrics__every=100)
    job = Process(["run.ini", "run.name=long"], lab.dir)
    try:
        job.wait_for(lambda: (lab.dir / "runs/long/metrics.h5").exists() and len(lab.out("long").table("steps")))
        out = watch(lab, "runs/long", "runs/done", "runs/nothing", "--once", code=4)
        assert re.search(r"runs/long  running  step \d+ of \d+  \d+ samples/s  \d+:\d\d:\d\d left  as of", out)
        assert "runs/nothing  no such folder" in out and "runs/done  complete" in out
        live = subprocess.Popen(command("runs/long", "--every", "0.1"), cwd=lab.dir, text=True,
                                stdout=subprocess.PIPE)
        time.sleep(1)
        assert live.poll() is None, "it goes on while the run does"
    finally:
        job.popen.terminate()
        job.end()
    out = live.communicate(timeout=20)[0]
    assert live.returncode == 0
    assert "  stopped  " in [line for line in out.splitlines() if line.startswith("runs/long")][-1]


def test_what_cannot_be_read_is_said(lab, tmp_path):
    shutil.copytree(lab.dir / "runs/done", tmp_path / "bad")
    (tmp_path / "bad/metrics.h5").write_bytes(b"no HDF5 at all")
    assert "can't be read" in watch(lab, tmp_path / "bad", code=4)


def test_what_does_not_change_is_said_once(lab, tmp_path):
    waits = subprocess.Popen(command(tmp_path, "--every", "0.1"), cwd=lab.dir, text=True, stdout=subprocess.PIPE)
    time.sleep(2)
    assert waits.poll() is None, "the run may be about to start"
    waits.send_signal(signal.SIGINT)
    assert waits.communicate(timeout=20)[0] == f"{tmp_path}  no metrics.h5 yet\n" and waits.returncode == 130


@pytest.mark.parametrize("env, coloured", [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_on_a_terminal(lab, env, coloured):
    parent, child = pty.openpty()
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS")}
    subprocess.run(command("runs/done", "--once"), cwd=lab.dir, stdout=child, check=True, env={**clean, **env})
    os.close(child)
    text = os.read(parent, 100000).decode()
    os.close(parent)
    assert ("\033[34mcomplete\033[0m" in text) == coloured and "complete" in text


@pytest.mark.parametrize("change", ["config", "batch", "steps", "columns", "bytes"])
def test_an_odd_file_is_a_line_and_the_others_are_shown(lab, tmp_path, change):
    folder = tmp_path / "odd"
    folder.mkdir()
    path = shutil.copy(lab.dir / "runs/done/metrics.h5", folder / "metrics.h5")
    if change == "bytes":
        raw = bytearray(open(path, "rb").read())
        raw[2000:2100] = bytes(range(100))
        open(path, "wb").write(raw)
    else:
        with h5py.File(path, "r+") as file:
            config = file.attrs["config"]
            file.attrs["status"] = "running"
            if change == "config":
                file.attrs["config"] = "[run]\n"
            elif change == "batch":
                file.attrs["config"] = re.sub("batch_size = .*", "batch_size = x", config)
            else:
                del file["steps"]
                file["steps"] = [1.0, 2.0] if change == "steps" else np.zeros(2, [("step", "i8")])
    done = subprocess.run(command(folder, "runs/done"), cwd=lab.dir, text=True, capture_output=True, check=False,
                          timeout=60)
    assert not done.stderr and "complete" in done.stdout
    assert change == "bytes" or (done.returncode == 4 and "can't be read" in done.stdout)


def test_head_ends_it_quietly(lab):
    done = subprocess.run(["bash", "-c", f"{' '.join(command('runs/done'))} | true"], cwd=lab.dir, text=True,
                          capture_output=True, check=False)
    assert not done.stderr

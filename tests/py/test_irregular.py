"""Pipes, devices and folders where files are expected, and signals to a process that isn't training
yet: nothing waits, and the exit code says whose fault it is."""

import gzip
import os
import signal
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from helpers import TRAINER, build_shim, environment, launch_all, make_set, running, write_idx

SOON = 10  # seconds; what waits for a pipe's writer waits for ever


def pipe(path):
    os.mkfifo(path)
    return path


def test_a_pipe_is_no_config_checkpoint_or_data(copy):
    """And it is named, with its kind, by each command that reads such a file."""
    fifo, last = pipe(copy.dir / "pipe.h5"), "runs/run/checkpoints/last.h5"
    start = ["run.ini", "run.name=new"]
    places = {"config": (2, [fifo]), "config of check": (2, ["check", fifo]),
              "checkpoint": (4, ["eval", fifo]), "predict's": (4, ["predict", fifo]),
              "weights": (4, [*start, "model.init=file", f"model.init_file={fifo}"])}
    results = launch_all({name: (args, copy.dir) for name, (code, args) in places.items()})
    for name, result in results.items():
        result.fails(places[name][0], str(fifo), "is a pipe")
    copy.run("/dev/zero", timeout=SOON).fails(2, "/dev/zero", "is a device")
    copy.run("eval", copy.dir, timeout=SOON).fails(4, "a folder, but not of a run")
    copy.run("predict", last, "--index", "0", "--output", "/dev/null",
             timeout=SOON).fails(4, "/dev/null", "is a device")
    assert os.path.exists("/dev/null") and not os.path.isfile("/dev/null")
    copy.run("predict", last, "--index", "0", "--output", fifo, timeout=SOON).fails(4, "is a pipe")


def test_a_pipe_is_no_data(copy):
    """IDX images, their labels, CSV, HDF5, what has no ending, and new samples."""
    last, idx = "runs/run/checkpoints/last.h5", copy.dir / "idx"
    write_idx(idx, make_set(64, 1), make_set(32, 2))
    (idx / "train-labels-idx1-ubyte").unlink()
    labels = pipe(idx / "train-labels-idx1-ubyte")
    other = write_idx(copy.dir / "other", make_set(64, 1))
    (other / "train-images-idx3-ubyte").unlink()
    pipes = [pipe(copy.dir / name)
             for name in ("other/train-images-idx3-ubyte", "a.csv", "a.h5", "a")]
    jobs = {fifo: (["check", "run.ini", f"data.train={fifo}"], copy.dir) for fifo in pipes}
    jobs[labels] = ["check", "run.ini", f"data.dir={idx}"], copy.dir
    for fifo, result in launch_all(jobs).items():
        result.fails(3, str(fifo), "is a pipe")
    for fifo in pipes[1:]:
        copy.run("predict", last, "--input", fifo, timeout=SOON).fails(3, str(fifo), "is a pipe")
    copy.run("predict", last, "--input", "/dev/zero", timeout=SOON).fails(3, "is a device")
    for command in (["predict", last, "--input"], ["check", "run.ini", "data.train="]):
        line = " ".join(map(str, [TRAINER, *command]))
        done = subprocess.run(["bash", "-c", f"{line}{' ' * line.endswith('input')}/dev/stdin"],
                              cwd=copy.dir, env=environment(True), input=b"x,y\n1,2\n",
                              capture_output=True, timeout=SOON)
        assert done.returncode == 3 and b"is a pipe" in done.stderr, done


def test_a_pipe_in_the_runs_folder_keeps_nobody_waiting(lab):
    lab.config(train__epochs=1)
    (lab.dir / "runs" / "run").mkdir(parents=True)
    pipe(lab.dir / "runs" / "run" / "config.ini")
    lab.run("run.ini", timeout=SOON).expect(0)


def test_a_process_substitution_is_no_config(lab):
    """bash's <(...) names the reading end of a pipe."""
    config = lab.config()
    done = subprocess.run(["bash", "-c", f"exec {TRAINER} check <(cat {config})"], cwd=lab.dir,
                          env=environment(True), capture_output=True, text=True, timeout=SOON)
    assert done.returncode == 2 and "is a pipe" in done.stderr, done


def stalled(lab, shim, where, *args, ranks):
    """A job that hangs in the opening of a file, as on a network file system that is away."""
    job = lab.start(*args, ranks=ranks, env={"LD_PRELOAD": str(shim), "REFUSE_STALL": where})
    job.wait_for((lab.dir / "STALLED").exists)
    return job


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2"])
@pytest.mark.parametrize("ranks", [None, 2])
def test_a_signal_before_the_first_step_ends_all_with_75(lab, refuse, ranks, name):
    """Nothing is trained that could be lost, and the same command starts again."""
    lab.config(train__epochs=1)
    job = stalled(lab, refuse, "train-images", "run.ini", ranks=ranks)
    pids = job.ranks()
    os.kill(pids[-1], getattr(signal, name))
    result = job.end(SOON).expect(75)
    assert "run the same command again" in result.out and not result.errors, result
    assert not any(map(running, pids))
    lab.run("run.ini", ranks=ranks).expect(0)


def test_ranks_that_wait_for_another_leave_the_cores_to_others(lab, refuse):
    def seconds(pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    lab.config(train__epochs=1)
    job = stalled(lab, refuse, "train-images", "run.ini", ranks=2)
    before = {pid: seconds(pid) for pid in job.ranks()}
    assert len(before) == 2
    time.sleep(2)
    used = max(seconds(pid) - before[pid] for pid in before)
    os.kill(next(iter(before)), signal.SIGTERM)
    job.end(SOON).expect(75)
    assert used < 0.3, f"{used} s of CPU time in 2 s"


@pytest.mark.parametrize("command", ["check", "eval", "predict"])
def test_a_signal_ends_what_trains_nothing(copy, refuse, command):
    """As it ends any process: all ranks, with 128 and the signal's number."""
    target = "run.ini" if command == "check" else "runs/run/checkpoints/last.h5"
    job = stalled(copy, refuse, "-images", command, target, ranks=2)
    pids = job.ranks()
    os.kill(pids[0], signal.SIGTERM)
    assert job.end(SOON).code == 128 + signal.SIGTERM
    assert not any(map(running, pids))


@pytest.mark.parametrize("kind", ["idx", "gz", "csv", "npy", "hdf5"])
def test_short_and_interrupted_reads_and_writes_change_nothing(lab, arrays, tmp_path, kind):
    shim = build_shim(tmp_path, "short.c")
    x, y = arrays["train"]
    data = {"dir": str(lab.data)}
    if kind == "gz":
        folder = lab.dir / "packed"
        folder.mkdir()
        for path in lab.data.iterdir():
            (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        data = {"dir": "packed"}
    elif kind == "csv":
        rows = np.column_stack([x.reshape(len(x), -1)[:, 100:110], y])
        np.savetxt(lab.dir / "t.csv", rows, "%d", ",", header=",".join("abcdefghijk"), comments="")
        data = {"dir": None, "train": "t.csv"}
    elif kind == "npy":
        np.save(lab.dir / "x.npy", x.astype("f4"))
        np.save(lab.dir / "y.npy", y)
        data = {"dir": None, "train": "x.npy"}
    elif kind == "hdf5":
        with h5py.File(lab.dir / "t.h5", "w") as file:
            file.create_dataset("images", data=x, compression="gzip")
            file["labels"] = y
        data = {"dir": None, "train": "t.h5"}
    lab.config(model__layers="dense:12 relu", train__epochs=2, checkpoint__every_steps=7, optimizer__momentum=0.9,
               **{f"data__{key}": value for key, value in data.items()})
    lab.run("run.ini", "run.name=plain").expect(0)
    env = {"LD_PRELOAD": str(shim)}
    lab.run("run.ini", "run.name=short", "train.max_steps=9", env=env).expect(75)
    lab.run("run.ini", "run.name=short", env=env).expect(0)
    assert lab.out("short").bits() == lab.out("plain").bits()
    split = ("--split", "train")
    assert lab.run("eval", "runs/short", *split, env=env).expect(0).out == lab.run("eval", "runs/plain", *split).out
    lab.run("predict", "runs/short", *split, "--output", "p.csv", env=env).expect(0)
    lab.run("predict", "runs/plain", *split, "--output", "q.csv").expect(0)
    assert (lab.dir / "p.csv").read_bytes() == (lab.dir / "q.csv").read_bytes()

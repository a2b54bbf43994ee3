"""Mishaps of a run's files: what goes on, what ends it, and what is never lost."""

import os
import shutil
import signal
import subprocess
import time

import h5py
import pytest

from helpers import TRAINER, assert_same_bits, build_shim, environment, launch


LONG = {"train__epochs": 100000, "metrics__flush": 0.1, "checkpoint__every": 50,
        "checkpoint__best": "none"}


def block(path):
    """A folder in the file's place, whenever that is written; what the file held."""
    while True:
        held = path.read_bytes()
        path.unlink()
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return held


def test_rows_outlive_a_metrics_file_that_cannot_be_written(lab):
    """One warning, training goes on, and the checkpoint holds the rows that metrics.h5 lacks."""
    keys = {**LONG, "checkpoint__every_steps": 15, "checkpoint__keep": 2}
    job = lab.start(lab.config(**keys))
    job.wait_for(lab.out().last.exists)
    held = block(lab.out().metrics)
    first = lab.out().last.resolve()
    job.wait_for(lambda: lab.out().last.resolve() != first)
    said = []

    def warned():
        try:
            said.append(os.read(job.popen.stderr.fileno(), 65536).decode())
        except BlockingIOError:
            pass
        return "training goes on" in "".join(said)
    os.set_blocking(job.popen.stderr.fileno(), False)
    job.wait_for(warned)
    time.sleep(0.3)
    result = job.kill()
    assert "".join([*said, result.err]).count("training goes on") == 1, result
    with h5py.File(lab.out().last, "r") as file:
        assert len(file["metrics/steps"]) > 0
        epochs = int(file["state"].attrs["epoch"]) + 2
    lab.out().metrics.rmdir()
    lab.out().metrics.write_bytes(held)
    lab.run("run.ini", f"train.epochs={epochs}").expect(0)
    lab.run(lab.config("whole.ini", **{**keys, "train__epochs": epochs})).expect(0)
    assert_same_bits(lab.out().bits(), lab.out("whole").bits(), "rows from the checkpoint")


def test_metrics_that_cannot_be_written_at_the_end_are_exit_4(lab):
    job = lab.start(lab.config(**{**LONG, "checkpoint__retries": 1}))
    job.wait_for(lab.out().metrics.exists)
    block(lab.out().metrics)
    time.sleep(0.3)
    os.kill(job.pid, signal.SIGTERM)
    result = job.end()
    assert result.code == 4 and "metrics.h5: Is a directory" in result.errors[-1], result


def test_bad_parameters_never_become_a_checkpoint(lab):
    """A step's gradient may be finite where its update is not."""
    config = lab.config(optimizer__lr=3e38, optimizer__weight_decay=1e4, checkpoint__every_steps=1)
    result = lab.run(config).fails(
        5, "step 1", "0.weight", "learning rate 3e+38", "no checkpoint was written before")
    assert lab.out().steps_kept() == [] and lab.out().status() == "diverged", result


def test_first_layer_with_a_bad_value_is_named_by_all_ranks_alike(lab):
    config = lab.config(optimizer__lr=1e30, checkpoint__every_steps=1)
    lab.run(config, ranks=3).fails(
        5, "step 2", "loss nan", "learning rate 1e+30", "first layer with a bad value: 2",
        "checkpoint of step 1 is kept")
    assert lab.out().steps_kept() == ["step-00000001.h5"] and lab.out().status() == "diverged"


def test_folder_removed_during_the_run_is_exit_4(lab):
    job = lab.start(lab.config(**{**LONG, "checkpoint__every": 100}))
    job.wait_for(lab.out().last.exists)
    shutil.rmtree(lab.out().path, ignore_errors=True)
    result = job.end()
    assert result.code == 4 and len(result.errors) == 1, result
    assert "No such file or directory" in result.errors[0], result


def test_second_interrupt_ends_at_once(lab, tmp_path):
    """While the first one's checkpoint takes its time."""
    shim = build_shim(tmp_path, "fault.c")
    job = lab.start(lab.config(**LONG), env={"LD_PRELOAD": str(shim), "FAULT_SLOW": "30000",
                                             "FAULT_DIR": str(lab.out().path.resolve())})
    job.wait_for(lab.out().metrics.exists)
    for _ in range(2):
        time.sleep(0.5)
        os.kill(job.pid, signal.SIGINT)
    assert job.end(5).code == -signal.SIGINT


@pytest.mark.slow
def test_second_start_on_a_live_run_is_refused(lab):
    job = lab.start(lab.config(**LONG))
    job.wait_for(lab.out().last.exists)
    result = lab.run("run.ini", ranks=2)
    result.fails(4, "is in use by process", str(job.pid))
    os.kill(job.pid, signal.SIGUSR1)
    assert job.end().code == 75


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="another host name needs root (unshare -u)")
def test_start_on_another_host_takes_over(lab):
    """The older owner changes nothing more and exits with 4; the newer one goes on."""
    def host(name, *overrides):
        script = f'hostname {name}; exec "$@"'
        return ["unshare", "-u", "sh", "-c", script, "-", str(TRAINER), "run.ini", *overrides]
    lab.config(**LONG)
    old = subprocess.Popen(host("old"), cwd=lab.dir, env=environment(True), text=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        time.sleep(2)
        new = subprocess.run(host("new", "train.max_time=14"), cwd=lab.dir, env=environment(True),
                             text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        assert new.returncode == 75 and "resume  from step" in new.stdout, new
        _, err = old.communicate(timeout=20)
    finally:
        old.kill()
    assert old.returncode == 4 and "was taken over by process" in err, err
    assert (lab.out().path / "run.lock").read_text().startswith("generation 2 ")
    launch("run.ini", "train.max_steps=1", cwd=lab.dir).expect(75)

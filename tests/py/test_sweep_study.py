"""The parts of a sweep that need no trainer: specs, the study's journal and its locks."""

import json
import multiprocessing
import re
import signal
import sys
import time

import numpy as np
import pytest

from helpers import REPO
from sweeps import SPACE, Bench, Sweep, wait_for

pytest.importorskip("optuna", reason="python3-optuna is not installed")
sys.path.insert(0, str(REPO / "scripts"))
from sweeplib import report, slurm  # noqa: E402
from sweeplib.spec import SweepError, read_spec  # noqa: E402
from sweeplib.study import Locks, Study  # noqa: E402

pytestmark = pytest.mark.together  # only one worker loads Optuna
GRID = {"optimizer.lr": "choice 0.1 0.3", "train.batch_size": "choice 16 32 64"}


@pytest.mark.parametrize("limit, seconds", [
    ("90", 5400), ("1:30", 90), ("2:00:05", 7205), ("1-0", 86400), ("1-2:3", 93780),
    ("2-1:00:10", 176410)])
def test_a_time_limit_is_read_as_slurm_reads_it(limit, seconds):
    assert slurm.seconds(limit) == seconds


def test_importance_is_rank_correlation():
    metric = [1.0, 4.0, 9.0, 16.0, 25.0]
    assert report.importance([1, 2, 3, 4, 5], metric) == pytest.approx((1, 1))
    assert report.importance([5, 4, 3, 2, 1], metric) == pytest.approx((1, -1))
    assert report.importance([2, 1, 4, 3, 5], metric)[0] == pytest.approx(0.8)
    assert report.importance(["a", "a", "b", "b", "b"], metric)[0] == pytest.approx(0.75 ** 0.5)
    assert report.importance([7, 7, 7, 7, 7], metric) == (0, 0)
    assert list(report.ranks([3, 1, 3, 2])) == [2.5, 0, 2.5, 1]


# ---- the journal and its locks ----

def study_in(folder, trials=6):
    text = f"[sweep]\nconfig = c\nmethod = random\nmetric = val_loss\ntrials = {trials}\n[space]\n"
    (folder / "s.ini").write_text(text + "optimizer.lr = uniform 0 1\n")
    return Study(folder, read_spec(folder / "s.ini"))


def in_a_child(work, *args):
    child = multiprocessing.get_context("fork").Process(target=work, args=args, daemon=True)
    child.start()
    return child


@pytest.mark.parametrize("torn", ['{"op_co', '{"op_code": 4, "study_id": 0}', "\0\0"])
def test_a_torn_last_line_is_cut_off(tmp_path, torn):
    def work():
        study = study_in(tmp_path)
        study.claim()
        with open(tmp_path / "study.journal", "a") as file:
            file.write(torn)
        study.claim()
        assert [t.number for t in study_in_place(tmp_path).trials()] == [0, 1]

    child = in_a_child(work)
    child.join(30)
    assert child.exitcode == 0
    lines = (tmp_path / "study.journal").read_text().splitlines()
    assert [json.loads(line)["op_code"] for line in lines] == [0, 4, 4]


def study_in_place(folder):
    return Study(folder, read_spec(folder / "s.ini"))


def test_a_killed_holder_of_the_lock_blocks_nobody(tmp_path):
    def hold():
        study = study_in(tmp_path)
        study.lock.acquire()
        (tmp_path / "held").touch()
        time.sleep(60)

    child = in_a_child(hold)
    wait_for((tmp_path / "held").exists, 20, lambda: "")
    other = in_a_child(lambda: study_in_place(tmp_path).claim())
    other.join(1)
    assert other.exitcode is None  # it waits: the lock holds
    child.kill()
    other.join(10)
    assert other.exitcode == 0


def test_a_lock_is_seen_from_another_process_until_its_end(tmp_path):
    def hold():
        locks = Locks(tmp_path / "locks")
        assert locks.take(Locks.TRIAL + 3)
        (tmp_path / "held").touch()
        time.sleep(60)

    child = in_a_child(hold)
    wait_for((tmp_path / "held").exists, 20, lambda: "")
    locks = Locks(tmp_path / "locks")
    assert locks.taken(Locks.TRIAL + 3) and not locks.taken(Locks.TRIAL + 4)
    assert not locks.take(Locks.TRIAL + 3)
    child.kill()
    child.join()
    assert not locks.taken(Locks.TRIAL + 3) and locks.take(Locks.TRIAL + 3)


def test_a_trial_of_another_machine_is_taken_up_when_its_lock_is_free(tmp_path, monkeypatch):
    def hold():
        monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
        study_in(tmp_path).claim()
        (tmp_path / "held").touch()
        time.sleep(60)

    child = in_a_child(hold)
    wait_for((tmp_path / "held").exists, 20, lambda: "")
    study = study_in_place(tmp_path)
    assert study.claim().number == 1
    child.kill()
    child.join()
    assert study.claim().number == 0 and study.claim().number == 2


def work_through(folder, number, pause):
    """A worker whose trials take `pause` seconds; it writes down when each began and ended."""
    study, rng = study_in_place(folder), np.random.default_rng(number)
    with open(folder / f"seen-{number}", "a", buffering=1) as seen:
        while not study.final(study.trials()):
            trial = study.claim()
            if trial is None:
                time.sleep(0.2)
                continue
            seen.write(f"{trial.number} begins {time.monotonic()}\n")
            time.sleep(pause * rng.random())
            seen.write(f"{trial.number} ends {time.monotonic()}\n")
            study.finish(trial, pause, status="complete", value=1.0, epoch=1, message="")


@pytest.mark.slow
def test_64_workers_with_some_killed_do_each_trial_once(tmp_path):
    trials, workers = 192, 64
    in_a_child(study_in, tmp_path, trials).join()
    alive = {n: in_a_child(work_through, tmp_path, n, 0.5) for n in range(workers)}
    for number in range(0, 24):
        time.sleep(0.3)
        alive[number].kill()
        alive[workers + number] = in_a_child(work_through, tmp_path, workers + number, 0.5)
    for number, child in alive.items():
        child.join(120)
        assert child.exitcode == (-signal.SIGKILL if number < 24 else 0) or (
            number < 24 and child.exitcode == 0)
    assert any(child.exitcode for child in alive.values())

    study, points = study_in_place(tmp_path), []
    for trial in study.trials():
        points.append(study.point(trial.number, points))
    assert [trial.params for trial in study.trials()] == points
    assert Sweep(tmp_path).endings() == [1] * trials
    attempts = {}
    for file in tmp_path.glob("seen-*"):
        for line in file.read_text().splitlines():
            trial, what, when = line.split()
            if what == "begins":
                worker = int(file.name.split("-")[1])
                attempts.setdefault(int(trial), []).append((float(when), worker))
    assert sorted(attempts) == list(range(trials))
    for found in attempts.values():  # all but the last one's workers were killed
        assert all(worker < 24 for _, worker in sorted(found)[:-1])


# ---- bad input ----

@pytest.mark.parametrize("keys, space, says", [
    ({}, {"optimizer.lr": "choice"}, "an empty choice"),
    ({}, {"optimizer.lr": "choice 1 1"}, "appears twice"),
    ({}, {"optimizer.lr": "log 0 1"}, "above 0"),
    ({}, {"optimizer.lr": "uniform 1 0"}, "the lower one first"),
    ({}, {"optimizer.lr": "int 1 2.5"}, "whole numbers"),
    ({}, {"optimizer.lr": "normal 0 1"}, "'normal' is none of"),
    ({}, {"model.layers": 'choice "dense:3'}, "No closing quotation"),
    ({}, {"run.output": "choice a b"}, "sets this key itself"),
    ({"method": "grid", "trials": None}, {"optimizer.lr": "log 0.1 1"}, "list the values"),
    ({"trials": None}, SPACE, "how many to run"),
    ({"trials": 7}, GRID, "holds 6 points"),
    ({"metric": "loss"}, GRID, "must be one of train_loss"),
    ({"trails": 7}, GRID, "unknown key 'trails'"),
    ({"name": "../x"}, GRID, "must be letters"),
    ({"config": None}, GRID, "config is missing"),
    ({"method": "bayes"}, GRID, "grid, random or tpe"),
])
def test_a_wrong_spec_is_refused(tmp_path, data, keys, space, says):
    with pytest.raises(SweepError, match=re.escape(says)) as refusal:
        read_spec(tmp_path / Bench(tmp_path, data).spec(space=space, **keys))
    assert "s.ini" in str(refusal.value) and "\n" not in str(refusal.value)

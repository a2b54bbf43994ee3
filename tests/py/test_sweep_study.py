"""The parts of a sweep that need no trainer: specs, the study's journal and its locks."""

import contextlib
import csv
import json
import math
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from unittest import mock

import h5py
import numpy as np
import pytest

from helpers import REPO
from sweeps import SPACE, Bench, Sweep, wait_for

pytest.importorskip("optuna", reason="python3-optuna is not installed")
sys.path.insert(0, str(REPO / "scripts"))
from sweeplib import engine, report, results, slurm  # noqa: E402
from sweeplib.spec import SweepError, cores, digest, read_spec, same_config  # noqa: E402
from sweeplib.study import Locks, Study, failed, has_ended, myself  # noqa: E402

pytestmark = pytest.mark.together  # only one worker loads Optuna
GRID = {"optimizer.lr": "choice 0.1 0.3", "train.batch_size": "choice 16 32 64"}


@pytest.mark.parametrize("limit, seconds", [
    ("90", 5400), ("1:30", 90), ("2:00:05", 7205), ("1-0", 86400), ("1-2:3", 93780),
    ("2-1:00:10", 176410)])
def test_a_time_limit_is_read_as_slurm_reads_it(limit, seconds):
    assert slurm.seconds(limit) == seconds


def test_the_pareto_front_is_what_none_is_faster_and_better_than():
    points = [(3, 0.9), (1, 0.5), (2, 0.8), (2, 0.7), (4, 0.85), (5, 0.95)]
    assert report.pareto(points, "max") == [(1, 0.5), (2, 0.8), (3, 0.9), (5, 0.95)]
    assert report.pareto(points, "min") == [(1, 0.5)] and report.pareto([], "min") == []


@pytest.mark.parametrize("point, says", [
    ("optimizer.lr=0.1", "train.batch_size is missing"), ("optimizer.lr=2 train.batch_size=16", "between 0.001 and 1"),
    ("optimizer.lr=0.1 train.batch_size=17", "one of 16 32"), ("optimizer.lr train.batch_size=16", "key=value"),
    ("optimizer.lr=0.1 train.batch_size=16 run.x=1", "run.x is not in [space]")])
def test_wrong_points_are_refused(tmp_path, point, says):
    (tmp_path / "s.ini").write_text(
        "[sweep]\nconfig = base.ini\nmethod = random\nmetric = test_loss\ntrials = 3\n"
        f"[space]\noptimizer.lr = log 1e-3 1\ntrain.batch_size = choice 16 32\n[points]\na = {point}\n")
    with pytest.raises(SweepError, match=re.escape(says)):
        read_spec(tmp_path / "s.ini")


def test_importance_is_rank_correlation():
    metric = [1.0, 4.0, 9.0, 16.0, 25.0]
    assert report.importance([1, 2, 3, 4, 5], metric) == pytest.approx((1, 1))
    assert report.importance([5, 4, 3, 2, 1], metric) == pytest.approx((1, -1))
    assert report.importance([2, 1, 4, 3, 5], metric)[0] == pytest.approx(0.8)
    assert report.importance(["a", "a", "b", "b", "b"], metric)[0] == pytest.approx(0.75 ** 0.5)
    assert report.importance([7, 7, 7, 7, 7], metric) == (0, 0)
    assert list(report.ranks([3, 1, 3, 2])) == [2.5, 0, 2.5, 1]


# ---- specs ----

def spec_in(folder, space, method="random", trials=6, **keys):
    keys = {"config": "c", "metric": "val_loss", "method": method, "trials": trials, **keys}
    text = "[sweep]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()) + "[space]\n"
    folder.mkdir(exist_ok=True)
    (folder / "s.ini").write_text(text + "".join(f"{k} = {v}\n" for k, v in space.items()))
    return read_spec(folder / "s.ini")


def test_a_spec_may_have_a_bom_indented_lines_and_comments(tmp_path):
    (tmp_path / "s.ini").write_bytes(
        b"\xef\xbb\xbf[sweep] ; what to try\r\n  config = c   # the run\r\n"
        b"    method = grid\r\n\tmetric: val_loss\r\n        # a comment\r\n"
        b"  [space]\r\n    optimizer.lr = choice 0.1 0.2 ; rates\r\n      run.seed = int 1 2\r\n")
    spec = read_spec(tmp_path / "s.ini")
    assert (spec.config, spec.method, spec.size, list(spec.space)) == (
        "c", "grid", 4, ["optimizer.lr", "run.seed"])


@pytest.mark.parametrize("other, same", [
    (b"\xef\xbb\xbf; new\n[run]\n  seed = 3 # new\n\n[train]\nepochs: 4\n", True),
    (b"[run]\nseed = 4\n[train]\nepochs = 4\n", False),
    (b"[run]\nseed = 3\nseed = 3\n", False)])
def test_configs_are_the_same_whatever_their_comments(other, same):
    assert same_config(b"[run] ; old\nseed = 3\n[train]\nepochs = 4 ; few\n", other) == same


def test_the_config_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert spec_in(tmp_path, GRID, config="~/c.ini").config == "/home/me/c.ini"


CONDITIONAL = {"optimizer.name": "choice sgd adam", "optimizer.lr": "choice 0.1 0.2",
               "optimizer.momentum": "choice 0 0.9 when optimizer.name sgd",
               "optimizer.nesterov": "choice true false when optimizer.momentum 0.9",
               "optimizer.beta1": "choice 0.8 0.9 when optimizer.name adam"}


@pytest.mark.parametrize("method", ["grid", "random", "tpe"])
def test_a_key_is_there_only_where_another_has_the_value(tmp_path, method):
    spec = spec_in(tmp_path, CONDITIONAL, method, "auto" if method == "grid" else 10)
    assert spec.size == 2 * (1 + 2) + 2 * 2  # momentum 0; 0.9 with both nesterovs; adam's
    study, points = Study(tmp_path, spec), []
    for number in range(10):
        points.append(study.point(number, points))
    assert len({digest(point) for point in points}) == 10
    for point in points:
        expected = {"optimizer.name", "optimizer.lr"} | (
            {"optimizer.beta1"} if point["optimizer.name"] == "adam" else {"optimizer.momentum"})
        if point.get("optimizer.momentum") == "0.9":
            expected.add("optimizer.nesterov")
        assert set(point) == expected
    if method == "grid":
        assert points == [spec.grid_point(n) for n in range(10)]
        assert [p["optimizer.name"] for p in points] == ["sgd"] * 6 + ["adam"] * 4


def test_what_is_checked_beforehand_holds_each_value_where_it_is_active(tmp_path):
    edges = spec_in(tmp_path, CONDITIONAL).edges()
    assert {(k, v) for point in edges for k, v in point.items()} == {
        ("optimizer.name", "sgd"), ("optimizer.name", "adam"), ("optimizer.lr", "0.1"),
        ("optimizer.lr", "0.2"), ("optimizer.momentum", "0"), ("optimizer.momentum", "0.9"),
        ("optimizer.nesterov", "true"), ("optimizer.nesterov", "false"),
        ("optimizer.beta1", "0.8"), ("optimizer.beta1", "0.9")}
    assert len(edges) == 6 and all("optimizer.nesterov" not in p or
                                   p["optimizer.momentum"] == "0.9" for p in edges)


def finish(study, trial, status="complete", value=None, seconds=1, **more):
    study.finish(trial, seconds, **{"status": status, "value": value, "epoch": None, "message": "", **more})


# ---- tables ----

def test_columns_have_types_and_are_empty_only_where_there_is_nothing(tmp_path):
    study = Study(tmp_path, spec_in(tmp_path, {
        "optimizer.name": "choice sgd adam", "model.layers": 'choice "" "dense:4"',
        "train.batch_size": "choice 16 32", "data.limit": "int 100 300",
        "optimizer.lr": "choice 0.1 1e-2",
        "optimizer.momentum": "choice 0 0.9 when optimizer.name sgd",
        "optimizer.alpha": "int 1 2 when optimizer.name adam"}, trials=12))
    finish(study, study.claim(), "diverged")
    for _ in range(11):
        finish(study, study.claim(), value=0.5, epoch=2)
    results.write(study)
    with h5py.File(tmp_path / "results.h5") as file:
        table = file["trials"][:]
    kinds = {"trial": "i", "status": "O", "val_loss": "f", "epoch": "i", "seconds": "f",
             "optimizer.name": "O", "model.layers": "O", "train.batch_size": "i",
             "data.limit": "i", "optimizer.lr": "f", "optimizer.momentum": "f",
             "optimizer.alpha": "f", "folder": "O", "message": "O"}
    assert {name: table.dtype[name].kind for name in table.dtype.names} == kinds
    with open(tmp_path / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(table) == 12 and list(rows[0]) == list(kinds)
    assert (rows[0]["val_loss"], rows[0]["epoch"], table["epoch"][0]) == ("", "", 0)
    for row, record, trial in zip(rows, table, study.trials()):
        sgd = trial.params["optimizer.name"] == "sgd"
        assert (row["optimizer.momentum"] == "") == (not sgd) == math.isnan(
            record["optimizer.momentum"])
        assert (row["optimizer.alpha"] == "") == sgd == math.isnan(record["optimizer.alpha"])
        layers = trial.params["model.layers"] or '""'
        assert row["model.layers"] == layers == record["model.layers"].decode()
        assert int(row["data.limit"]) == record["data.limit"] == trial.params["data.limit"]
    page = report.write(study).read_text()
    assert page.count("<td></td>") >= 12 and "optimizer.momentum" in page


# ---- what the pruner and the sampler see ----

def test_an_epoch_without_a_score_prunes_nobody(tmp_path):
    study = Study(tmp_path, spec_in(tmp_path, {"optimizer.lr": "uniform 0 1"}, pruner="halving"))
    first = study.claim()
    assert not study.prunes(first, {1: 0.5, 2: 0.4})
    finish(study, first, value=0.4, epoch=2)
    trial = study.claim()
    assert not study.prunes(trial, {1: math.nan, 2: 0.1, 3: math.inf})
    assert study.trials()[1].intermediate_values == {2: 0.1}
    assert study.prunes(study.claim(), {1: math.nan, 2: 0.9})


def test_an_epoch_is_reported_once(tmp_path):
    study = Study(tmp_path, spec_in(tmp_path, {"optimizer.lr": "uniform 0 1"}, pruner="median"))
    trial, curve = study.claim(), {}
    for epoch in range(1, 9):
        curve[epoch] = 1 / epoch
        assert not study.prunes(trial, curve)
    reports = [e for e in Sweep(tmp_path).journal() if "intermediate_value" in e]
    assert [e["step"] for e in reports] == list(range(1, 9))


@pytest.mark.parametrize("pruner", ["none", "median"])
def test_a_trial_goes_on_whatever_the_config_says_and_shows_a_pruner_its_epochs(tmp_path, pruner):
    spec = spec_in(tmp_path, GRID, pruner=pruner)
    line = engine.trial_arguments(spec, tmp_path / "0000-x", {"optimizer.lr": "0.1"})
    assert "run.resume=auto" in line and ("metrics.flush=0.5" in line) == (pruner == "median")


def test_a_diverged_trial_is_the_worst_for_the_sampler_whatever_it_scored_before(tmp_path):
    study = Study(tmp_path, spec_in(tmp_path, {"optimizer.lr": "uniform 0 1"}, "tpe",
                                    pruner="median"))
    for status in ("diverged", "pruned"):
        trial = study.claim()
        assert not study.prunes(trial, {1: 0.1, 2: 0.1})
        finish(study, trial, status)
    assert [row["status"] for row in results.rows(study)] == ["diverged", "pruned"]
    assert [t.intermediate_values for t in study.seen().trials] == [{}, {1: 0.1, 2: 0.1}]


def test_a_failed_trial_is_tried_again_when_the_sweep_starts_again(tmp_path):
    study = Study(tmp_path, spec_in(tmp_path, {"optimizer.lr": "uniform 0 1"}, trials=2))
    for _ in range(2):
        finish(study, study.claim(), "failed", message="wrong")
    assert study.final(study.trials()) and study.claim() is None
    study.retry_failed()
    assert not study.final(study.trials()) and not any(map(failed, study.trials()))
    again = [study.claim() for _ in range(2)]
    assert [t.number for t in again] == [0, 1]
    finish(study, again[0], "failed", message="wrong")
    finish(study, again[1], value=1.0, epoch=1)
    assert [(r["status"], r["seconds"]) for r in results.rows(study)] == [
        ("failed", 2), ("complete", 2)]


# ---- what went wrong ----

@pytest.mark.parametrize("codes, place", [
    ((3, 4, 75, 126, 127, -15, -2, -1, 143, 130), True),
    ((1, 2, 5, -9, 137, -11, 139), False)])  # KILL: its own memory, most likely
def test_what_an_exit_code_speaks_of(codes, place):
    assert [engine.away(code) for code in codes] == [place] * len(codes)


@pytest.mark.parametrize("why, parallel, order", [
    ("exit code 4: gone", "auto", [0, 1, 2, 0]), ("exit code 4: gone", 2, [0, 1, 2, 0]),
    ("exit code 4: gone", 1, [0, 0]), ("", "auto", [0, 0])])
def test_new_trials_come_before_those_that_went_wrong_not_those_that_were_stopped(tmp_path, why, parallel,
                                                                                  order):
    study, taken = Study(tmp_path, spec_in(tmp_path, GRID, trials=3, parallel=parallel)), []
    for _ in order:
        trial = study.claim()
        taken.append(trial.number)
        if trial.number == 0:
            study.put_back(trial, 1, False, why)
    assert taken == order


def test_pauses_stay_short_however_much_went_wrong(tmp_path):
    worker = mock.Mock(outage=(time.monotonic(), 5000), launcher=engine.LocalLauncher)
    worker.spec = spec_in(tmp_path, GRID, wait=1e9)
    running = mock.Mock(retry_at=None, process=mock.Mock(returncode=3))
    assert engine.Worker.backs_off(worker, running, "exit code 3")
    assert 0 < running.retry_at - time.monotonic() <= engine.LONGEST


def test_an_attempt_is_not_told_the_words_of_another(tmp_path):
    (tmp_path / "log.txt").write_bytes(b"trainer: no data\n\xff")
    start = (tmp_path / "log.txt").stat().st_size
    assert engine.last_words(tmp_path) == "trainer: no data"
    assert engine.last_words(tmp_path, start) == ""


def test_cores_are_those_of_the_launcher_and_not_what_openmp_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CGROUP_ROOT", str(tmp_path))
    assert cores() == sorted(os.sched_getaffinity(0))


# ---- what Slurm is asked ----

@pytest.fixture
def asked(monkeypatch):
    """Stands in for Slurm: arrays of up to asked.most are taken. -> the commands."""
    class Asked(list):
        most, config = 10**6, "MaxArraySize            = 1001\nMaxJobCount             = 10000\n"
    log = Asked()

    def ask(*command, timeout=20):
        log.append(command)
        if command[0] != "sbatch":
            return 0, log.config, ""
        last = int(re.search(r"--array=0-(\d+)", " ".join(command))[1])
        return (0, "77\n", "") if last < log.most else (
            1, "", "sbatch: error: AssocMaxSubmitJobLimit: Job violates accounting/QOS policy (job "
                   "submit limit, user's size and/or time limits)")
    monkeypatch.setattr(slurm, "ask", ask)
    return log


@pytest.mark.parametrize("trials, parallel, config, most, tasks", [
    (50, 4, None, 9999, 4), (3, 40, None, 9999, 3), (50, "auto", None, 9999, 50),
    (5000, "auto", None, 9999, 1001), (50, "auto", "MaxArraySize = 5\nMaxJobCount = 9\n", 9999, 5),
    (50, "auto", "MaxArraySize = 99\nMaxJobCount = 9\n", 9999, 9),
    (50, 40, None, 12, 10), (5000, 2000, "", 9999, 1001)])
def test_an_array_has_as_many_tasks_as_are_needed_and_allowed(tmp_path, asked, trials, parallel,
                                                              config, most, tasks):
    spec = spec_in(tmp_path, {"optimizer.lr": "uniform 0 1"}, trials=trials, parallel=parallel)
    asked.most, asked.config = most, asked.config if config is None else config
    assert slurm.submit(spec, tmp_path, "sweep.py") == ("77", tasks)


def test_all_options_of_the_array_stand_on_the_command_line(tmp_path, asked):
    spec = spec_in(tmp_path, {"optimizer.lr": "uniform 0 1"}, ranks=2)
    slurm.submit(spec, tmp_path, "sweep.py")
    options = asked[-1]
    for option in ("--array=0-5", "--requeue", "--signal=B:USR1@120", "--ntasks=2",
                   "--time=1:00:00", "--open-mode=append", f"--output={tmp_path}/slurm/%A_%a.out", "--nodes=1"):
        assert option in options
    assert "#SBATCH" not in (tmp_path / "slurm" / "task.sh").read_text()


@pytest.fixture
def job(monkeypatch):
    """Has this process be in the job of the variables, and Slurm answer so."""
    def be(answer=None, **env):
        for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
            monkeypatch.delenv(name, raising=False)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        if answer:
            monkeypatch.setattr(slurm, "ask", lambda *c: answer)
    return be


@pytest.mark.parametrize("env, known", [
    ({}, ""), ({"SLURM_JOB_ID": "9"}, "9"),
    ({"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}, "7_3")])
def test_a_task_of_an_array_is_not_taken_for_the_array(monkeypatch, asked, job, env, known):
    job(**env)
    assert slurm.my_id() == known and slurm.my_job().get("job", "") == known
    monkeypatch.setattr(slurm.time, "sleep", mock.Mock(side_effect=InterruptedError))
    with pytest.raises(InterruptedError):
        slurm.requeue()
    assert asked == [("scontrol", "requeue", known)]


def test_a_job_that_is_not_requeued_says_so(monkeypatch, job):
    job((1, "", "slurm_requeue error:\n  Requested\n"), SLURM_JOB_ID="9")
    monkeypatch.setattr(slurm.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(slurm.signal, "signal", lambda *a: None)
    assert slurm.requeue() == "job 9 could not be requeued: slurm_requeue error: Requested"


def test_a_worker_that_died_in_a_job_that_lives_on_has_ended(job):
    """As one that was started by hand in it: a second one would wait for the job's end."""
    job((0, "JobId=9 JobState=RUNNING Restarts=0", ""), SLURM_JOB_ID="9")
    child = subprocess.Popen(["true"])
    child.wait()
    me = myself()
    assert not has_ended(me) and has_ended({**me, "pid": child.pid})
    assert not has_ended({**me, "pid": child.pid, "job": "10"})  # another job: Slurm knows


# ---- the journal and its locks ----

def study_in(folder, trials=6):
    return Study(folder, spec_in(folder, {"optimizer.lr": "uniform 0 1"}, trials=trials))


def in_a_child(work, *args):
    child = multiprocessing.get_context("fork").Process(target=work, args=args, daemon=True)
    child.start()
    return child


@contextlib.contextmanager
def holding(folder, take):
    """A child that has taken something, and is killed at the end."""
    def hold():
        take()
        (folder / "held").touch()
        time.sleep(60)
    child = in_a_child(hold)
    wait_for((folder / "held").exists, 20, lambda: "")
    yield
    child.kill()
    child.join()


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
    with holding(tmp_path, lambda: study_in(tmp_path).lock.acquire()):
        other = in_a_child(lambda: study_in_place(tmp_path).claim())
        other.join(1)
        assert other.exitcode is None  # it waits: the lock holds
    other.join(10)
    assert other.exitcode == 0


def test_a_lock_is_seen_from_another_process_until_its_end(tmp_path):
    locks = Locks(tmp_path / "locks")
    with holding(tmp_path, lambda: Locks(tmp_path / "locks").take(Locks.TRIAL + 3)):
        assert locks.taken(Locks.TRIAL + 3) and not locks.taken(Locks.TRIAL + 4)
        assert not locks.take(Locks.TRIAL + 3)
    assert not locks.taken(Locks.TRIAL + 3) and locks.take(Locks.TRIAL + 3)


def test_a_trial_of_another_machine_is_taken_up_when_its_lock_is_free(tmp_path, monkeypatch):
    def take():
        monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
        study_in(tmp_path).claim()
    with holding(tmp_path, take):
        study = study_in_place(tmp_path)
        assert study.claim().number == 1
    assert study.claim().number == 0 and study.claim().number == 2


def work_through(folder, number, pause):
    """A worker whose trials take up to `pause` seconds; it writes down when each began."""
    study, rng = study_in_place(folder), np.random.default_rng(number)
    with open(folder / f"seen-{number}", "a", buffering=1) as seen:
        while not study.final(study.trials()):
            trial = study.claim()
            if trial is None:
                time.sleep(0.2)
                continue
            seen.write(f"{trial.number} {time.monotonic()}\n")
            time.sleep(pause * rng.random())
            finish(study, trial, value=1.0, epoch=1)


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
        assert child.exitcode == 0 or (number < 24 and child.exitcode == -signal.SIGKILL)
    assert any(child.exitcode for child in alive.values())

    study, points = study_in_place(tmp_path), []
    for trial in study.trials():
        points.append(study.point(trial.number, points))
    assert [trial.params for trial in study.trials()] == points
    assert Sweep(tmp_path).endings() == [1] * trials
    attempts = {}
    for file in tmp_path.glob("seen-*"):
        for line in file.read_text().splitlines():
            trial, when = line.split()
            attempts.setdefault(int(trial), []).append((float(when), int(file.name.split("-")[1])))
    assert sorted(attempts) == list(range(trials))
    for found in attempts.values():  # all but the last one's workers were killed
        assert all(worker < 24 for _, worker in sorted(found)[:-1])


# ---- bad input ----

@pytest.mark.parametrize("keys, space, says", [
    ({}, {"optimizer.lr": "choice"}, "an empty choice"),
    ({}, {"optimizer.lr": "choice 1 1"}, "appears twice"),
    ({}, {"optimizer.lr": "choice 0.1 1e-1"}, "appears twice"),
    ({}, {"model.layers": "choice dense:64 relu dense:64"}, 'choice "dense:64 relu dense:64"'),
    ({}, {"optimizer.lr": "log 0.1 1 when"}, "takes a key and some of its values"),
    ({}, {"optimizer.lr": "log 0.1 1 when optimizer.name sgd"}, "must stand in [space], above"),
    ({}, {"optimizer.lr": "log 0.1 1", "run.seed": "int 1 2 when optimizer.lr 1"},
     "must be a choice or int"),
    ({}, {**GRID, "run.seed": "int 1 2 when train.batch_size 15"}, "it is one of 16 32 64"),
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

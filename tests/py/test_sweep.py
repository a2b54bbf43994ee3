"""Sweeps on this machine: which trials are run, that each is run once, what is refused."""

import os
import re
import signal
import subprocess

import h5py
import pytest

from helpers import TRAINER, Run, assert_same_bits
from sweeps import SWEEP, Bench, fake_trainer, script, two_cores, wait_for, working_in

pytest.importorskip("optuna", reason="python3-optuna is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.together,
              pytest.mark.skipif(not two_cores(), reason="needs two cores")]
GRID = {"optimizer.lr": "choice 0.1 0.3", "train.batch_size": "choice 16 32 64"}


@pytest.fixture
def bench(tmp_path, data):
    return Bench(tmp_path, data)


@pytest.fixture
def fake(tmp_path, data):
    """A bench whose trainer ends at once, with a loss."""
    return Bench(tmp_path, data, {"TRAINER": fake_trainer(tmp_path, 0)})


@pytest.fixture(scope="module")
def done(tmp_path_factory, data):
    """A finished sweep: random, 6 trials, two at a time. Not to be changed."""
    bench = Bench(tmp_path_factory.mktemp("done"), data, train__epochs=40)
    bench.out = bench.run("run", bench.spec())
    return bench


# ---- what a sweep leaves ----

def test_each_trial_is_run_once_and_said(done):
    sweep = done.sweep()
    assert len(sweep.trials()) == 6 and sweep.endings() == [1] * 6
    assert [row["status"] for row in sweep.results()] == ["complete"] * 6
    for number in range(6):
        assert len(re.findall(rf"trial {number} started: optimizer.lr=", done.out)) == 1
        assert len(re.findall(rf"trial {number} done: test_loss \d", done.out)) == 1
    assert "[6/6 done, best " in done.out


def test_the_tables_hold_what_the_runs_left(done):
    sweep = done.sweep()
    with h5py.File(sweep.path / "results.h5") as file:
        table = file["trials"][:]
        assert file.attrs["metric"] == "test_loss" and file.attrs["goal"] == "min"
    for row, record in zip(sweep.results(), table):
        run = sweep.path / row["folder"]
        with h5py.File(run / "metrics.h5") as file:
            curve = file["epochs"]["test_loss"]
        assert float(row["test_loss"]) == curve.min() == record["test_loss"]
        assert int(row["epoch"]) == curve.argmin() + 1 == record["epoch"]
        assert float(row["optimizer.lr"]) == record["optimizer.lr"]
        assert f"\nlr = {row['optimizer.lr']}\n" in (run / "config.ini").read_text()
        assert 1e-3 <= record["optimizer.lr"] <= 1
        assert row["model.layers"] == record["model.layers"].decode()


def test_best_prints_the_winner_and_how_to_train_it(done):
    rows = done.sweep().results()
    winner = min(rows, key=lambda row: float(row["test_loss"]))
    out = done.run("best", "s")
    assert f"trial {winner['trial']} of 6" in out and f"\nlr = {winner['optimizer.lr']}\n" in out


def test_the_command_for_the_best_gives_the_bits_of_its_trial(bench):
    """Also where patience follows the metric, and the config has limits and a folder of its own."""
    with open(bench.dir / "base.ini", "a") as file:
        file.write("[run]\noutput = taken\n")
    text = (bench.dir / "base.ini").read_text()
    (bench.dir / "base.ini").write_text(text.replace(
        "epochs = 4", "epochs = 40\npatience = 2\nmax_steps = 3"))
    space = {"optimizer.lr": "choice 0.3", "train.batch_size": "choice 16"}
    bench.run("run", bench.spec(space=space, method="grid", trials=None, metric="test_accuracy"))
    command = bench.run("best", "s").strip().split("# to train it: ")[1]
    assert subprocess.run(command.replace("./trainer", str(TRAINER)), shell=True, cwd=bench.dir,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode == 0
    assert not (bench.dir / "taken").exists()
    best, trial = Run(bench.dir / "runs" / "s-best"), bench.sweep().runs()[0]
    assert len(trial.table("epochs")) < 40  # patience ended it
    assert_same_bits(best.bits(), trial.bits(), command)


def test_the_report_is_one_page_of_its_own(done):
    done.run("report", "s")
    sweep = done.sweep()
    page = (sweep.path / "report.html").read_text()
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sum(link.startswith("data:image/png;base64,") for link in links) == 5
    assert sorted(k for k in links if not k.startswith("data:")) == [t + "/" for t in
                                                                      sweep.trials()]
    table = re.findall(r'<tr class="complete"><td><a href="\d+-\w+/">(\d+)</a>', page)
    rows = sorted(sweep.results(), key=lambda row: float(row["test_loss"]))
    assert table == [row["trial"] for row in rows]
    for name in ("best", "parameters", "pareto", "curves", "importance"):
        assert (sweep.path / f"report-{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


# ---- which points ----

def points(bench, spec):
    planned = bench.run("run", spec, "--dry-run")
    return re.findall(r"trial \d+: .*/config.ini (.*) run.name", planned)


def test_a_grid_is_each_point_once_in_order(bench):
    spec = bench.spec(space=GRID, method="grid", trials=None)
    assert points(bench, spec) == [f"optimizer.lr={lr} train.batch_size={n}"
                                   for lr in ("0.1", "0.3") for n in (16, 32, 64)]
    assert not (bench.dir / "runs").exists()


def test_a_small_space_is_drawn_without_repeats(bench):
    found = points(bench, bench.spec(space=GRID, trials=6))
    assert len(set(found)) == 6


def test_the_seed_decides(done, bench):
    first = points(bench, bench.spec())
    assert first == points(bench, bench.spec("t", parallel=1))
    assert first[0] != points(bench, bench.spec("u", seed=2))[0]
    planned = done.run("run", "s.ini", "--dry-run")
    assert all(f"/{name} " in planned for name in done.sweep().trials())


# ---- seeds and points ----

def test_a_trial_of_several_seeds_is_their_mean(bench):
    """The runs are those of run.seed = 1, 2, 3, alone; killed in between, the sweep goes on."""
    spec = bench.spec(space={"optimizer.lr": "choice 0.05 0.2"}, method="grid", trials="auto", seeds=3)
    out = bench.run("run", spec)
    sweep = bench.sweep()
    assert len(sweep.trials()) == 2 and sweep.endings() == [1, 1] and "[2/2 done" in out
    for row in sweep.results():
        folder, values = sweep.path / row["folder"], []
        for seed in 1, 2, 3:
            with h5py.File(folder / f"seed-{seed}/metrics.h5") as file:
                values.append(file["epochs"]["test_loss"].min())
            assert f"\nseed = {seed}\n" in (folder / f"seed-{seed}/config.ini").read_text()
        assert len(set(values)) == 3
        assert float(row["test_loss"]) == pytest.approx(sum(values) / 3, rel=1e-12)
        assert row["message"] == "3 seeds: " + " ".join(f"{v:.6g}" for v in values)
    assert f"trial {min(sweep.results(), key=lambda r: float(r['test_loss']))['trial']} of 2" in \
        bench.run("best", "s")
    bench.run("report", "s")
    assert "3 seeds: " in (sweep.path / "report.html").read_text()


def test_seeds_are_stopped_and_go_on(bench):
    spec = bench.spec(space={"optimizer.lr": "choice 0.05 0.2"}, method="grid", trials="auto", seeds=2)
    whole = bench.run("run", spec) and bench.sweep().values()
    other = bench.spec("other", {"optimizer.lr": "choice 0.05 0.2"}, method="grid", trials="auto", seeds=2)
    process = bench.start("run", other)
    wait_for(lambda: list((bench.dir / "runs/sweeps/other").glob("*/seed-*/checkpoints/last.h5")), 30,
             lambda: "a checkpoint")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    bench.run("resume", "other")
    assert bench.sweep("other").values() == whole


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_points_that_are_given_come_first(fake, method):
    points = {"mine": "optimizer.lr=0.5 train.batch_size=32 'model.layers=dense:16 tanh'",
              "theirs": "optimizer.lr=0.001 train.batch_size=64 model.layers="}
    fake.run("run", fake.spec(method=method, points=points, trials=4))
    rows = fake.sweep().results()
    assert [(row["optimizer.lr"], row["train.batch_size"], row["model.layers"]) for row in rows[:2]] == [
        ("0.5", "32", "dense:16 tanh"), ("0.001", "64", '""')]
    assert len({row["folder"] for row in rows}) == 4


def test_optuna_has_nothing_to_warn_of(bench):
    """No version says that something we call will go."""
    out = bench.run("run", bench.spec(method="tpe"), "--dry-run", PYTHONWARNINGS="error")
    assert out.count("trial ") == 6


def test_tpe_alone_repeats_itself_and_learns(fake):
    for name, method in (("a", "tpe"), ("b", "tpe"), ("c", "random")):
        fake.run("run", fake.spec(name, {"optimizer.lr": "log 1e-3 1"}, method=method, trials=14,
                                  parallel=1))
    assert fake.sweep("a").values() == fake.sweep("b").values()
    tpe, drawn = ([row["optimizer.lr"] for row in fake.sweep(name).results()] for name in "ac")
    assert tpe[:10] == drawn[:10] and tpe[10:] != drawn[10:]


def test_ranks_change_nothing_but_the_launch(done, bench):
    (bench.dir / "base.ini").write_bytes((done.dir / "base.ini").read_bytes())
    bench.run("run", bench.spec(trials=2, ranks=2, parallel=1))
    expected = done.sweep().bits()
    assert bench.sweep().bits() == {name: expected[name] for name in bench.sweep().trials()}
    assert "launch  2 ranks" in (bench.sweep().runs()[0].path / "log.txt").read_text()


# ---- interruptions ----

def started(bench, count):
    return lambda: len(list((bench.dir / "runs").glob("sweeps/s/*/checkpoints/last.h5"))) >= count


def test_ctrl_c_stops_after_checkpoints_and_resume_goes_on(done, tmp_path, data):
    bench = Bench(tmp_path, data, train__epochs=40, run__resume="never")
    process = bench.start("run", bench.spec())
    wait_for(started(bench, 1), 30, process.poll)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 75 and "`sweep.py resume s` goes on" in out, err
    assert "2 stopped" in bench.run("status", "s") and not working_in(tmp_path)
    assert {run.status() for run in bench.sweep().runs() if run.metrics.exists()} <= {
        "stopped", "complete"}
    out = bench.run("resume", "s")
    assert " goes on from step-" in out
    assert bench.sweep().endings() == [1] * 6
    assert bench.sweep().values() == done.sweep().values()
    assert bench.sweep().bits() == done.sweep().bits()


def test_a_killed_sweep_takes_its_trainers_along_and_goes_on(done, tmp_path, data):
    bench = Bench(tmp_path, data, train__epochs=40)
    for kill in range(3):
        process = bench.start(*(["run", bench.spec()] if kill == 0 else ["resume", "s"]))
        wait_for(started(bench, 1 + 2 * kill), 30, process.poll)
        process.kill()
        process.communicate()
        wait_for(lambda: not working_in(tmp_path), 10, lambda: "trainers live on")
    bench.run("resume", "s")
    assert bench.sweep().endings() == [1] * 6
    assert bench.sweep().bits() == done.sweep().bits()


def test_stop_and_max_time_end_it_too(tmp_path, data):
    bench = Bench(tmp_path, data, {"TRAINER": fake_trainer(tmp_path, 2)})
    process = bench.start("run", bench.spec(trials=50))
    wait_for(lambda: list(tmp_path.glob("runs/sweeps/s/*/log.txt")), 30, process.poll)
    assert "is at work already" in bench.run("run", "s.ini", code=2)
    bench.run("stop", "s")
    assert process.wait(10) == 75
    process.communicate()
    bench.spec(trials=50, max_time=1)
    assert "stops after a checkpoint: max_time" in bench.run("run", "s.ini", code=75)


def broken(folder, how, when="true"):
    """The trainer, but it ends so instead of training where the shell's condition holds."""
    return {"TRAINER": script(folder / "broken", f'''case $* in *max_steps=1|check*) ;; *) if {when}; then
    echo "trainer: the disk is on fire" >&2; {how}; fi ;; esac
exec {TRAINER} "$@"''')}


def test_a_trial_that_gets_nowhere_has_failed_until_the_sweep_is_resumed(tmp_path, data):
    bench = Bench(tmp_path, data, broken(tmp_path, "exit 1"))
    out = bench.run("run", bench.spec(trials=2), code=6)
    assert "2 trials have failed: `sweep.py resume s`" in out
    sweep = bench.sweep()
    assert [row["status"] for row in sweep.results()] == ["failed"] * 2
    assert all(float(row["seconds"]) > 15 for row in sweep.results())  # the pauses grew
    logs = [(sweep.path / name / "log.txt").read_text() for name in sweep.trials()]
    assert [log.count("on fire") for log in logs] == [5] * 2
    words = "no progress in 5 attempts: trainer: the disk is on fire"
    assert words in bench.run("status", "s") and sweep.results()[0]["message"] == words
    bench.run("resume", "s", TRAINER=str(TRAINER))
    assert [row["status"] for row in sweep.results()] == ["complete"] * 2
    assert sweep.endings() == [1] * 2


def test_a_config_that_the_trainer_refuses_fails_at_once(tmp_path, data):
    bench = Bench(tmp_path, data, broken(tmp_path, "exit 2", '[ "${*#*=s-0000}" != "$*" ]'))
    bench.run("run", bench.spec(trials=3), code=6)
    assert [row["status"] for row in bench.sweep().results()] == ["failed", "complete", "complete"]
    assert bench.sweep().results()[0]["message"] == "exit code 2: trainer: the disk is on fire"
    log = (bench.sweep().runs()[0].path / "log.txt").read_text()
    assert log.count("on fire") == 1


@pytest.mark.parametrize("how", ["exit 3", "exit 4"])
def test_what_is_away_is_waited_for_and_no_trial_fails_for_it(tmp_path, data, how):
    bench = Bench(tmp_path, data, broken(tmp_path, how, "[ -e away ]"))
    (tmp_path / "away").touch()
    process = bench.start("run", bench.spec(trials=3, wait=2))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75 and len(err.splitlines()) == 1
    assert "nothing went on for 2 s" in err
    assert "on fire: mend that, then `sweep.py resume s`" in err
    assert out.count("is interrupted and waits") in (1, 2, 3)
    assert " stopped" in bench.run("status", "s") and "running" not in bench.run("status", "s")
    assert "the disk is on fire" in bench.run("status", "s")
    process = bench.start("run", bench.spec(trials=3, wait=600))
    for line in process.stdout:
        if "is interrupted and waits 4 s" in line:  # as many attempts as would fail a trial
            (tmp_path / "away").unlink()
            break
    process.communicate(timeout=90)
    assert process.returncode == 0
    assert [row["status"] for row in bench.sweep().results()] == ["complete"] * 3


def test_a_study_that_cannot_be_written_stops_the_sweep(fake):
    limit = subprocess.run(
        ["sh", "-c", 'ulimit -f 20; exec "$@"', "-", *SWEEP, "run", fake.spec(trials=20)],
        cwd=fake.dir, env={**os.environ, **fake.env}, text=True, capture_output=True, timeout=60)
    assert limit.returncode == 75 and len(limit.stderr.splitlines()) == 1
    assert "File too large: mend that, then `sweep.py resume s` goes on" in limit.stderr
    fake.run("resume", "s")
    assert fake.sweep().endings() == [1] * 20


# ---- going on otherwise ----

def test_trials_may_grow_and_comments_change_and_the_folder_be_renamed(fake):
    fake.run("run", fake.spec(trials=3))
    names, config = fake.sweep().trials(), fake.dir / "base.ini"
    config.write_text("# a comment\n" + config.read_text())
    assert "trials: was 3, is 2: it may only grow" in fake.run("run", fake.spec(trials=2), code=2)
    assert fake.run("run", fake.spec(trials=5)).count(" started: ") == 2
    assert fake.sweep().trials()[:3] == names
    (fake.dir / "runs/sweeps/s").rename(fake.dir / "runs/sweeps/t")
    assert "5 complete" in fake.run("status", "t")
    out = fake.run("run", fake.spec("t", trials=6))
    assert out.count(" started: ") == 1 and "`sweep.py report t`" in out
    fake.run("report", "t")
    assert fake.sweep("t").endings() == [1] * 6


# ---- pruning ----

def test_diverged_and_pruned_trials_are_final(tmp_path, data):
    bench = Bench(tmp_path, data, train__epochs=1000, train__batch_size=8)
    space = {"optimizer.lr": "choice 0.3 0.4 0.5 0.6 0.7 1e-5 1e30"}
    spec = bench.spec(space=space, method="grid", trials=None, parallel=1, pruner="median")
    bench.run("run", spec)
    rows = bench.sweep().results()
    assert [row["status"] for row in rows] == ["complete"] * 5 + ["pruned", "diverged"]
    pruned = bench.sweep().path / rows[5]["folder"]
    assert (pruned / "checkpoints" / "last.h5").exists()
    with h5py.File(pruned / "metrics.h5") as file:
        assert file.attrs["status"] == "stopped" and len(file["epochs"]) < 1000
    assert bench.sweep().endings() == [1] * 7
    again = bench.run("resume", "s")
    assert "started" not in again and bench.sweep().endings() == [1] * 7


def test_the_engine_costs_little(fake):
    """CPU time, as the wall's would depend on what else the machine does: a 1-second trial on a
    core of its own may cost a tenth of it."""
    def cost(name, trials):
        before = os.times()
        fake.run("run", fake.spec(name, trials=trials))
        after = os.times()
        return sum(after[2:4]) - sum(before[2:4])
    few, many = cost("few", 10), cost("many", 70)
    assert (many - few) / 60 < 0.1


# ---- bad input ----

@pytest.mark.parametrize("keys, space, says", [
    ({}, {"optimizer.lrr": "log 0.1 1"}, "did you mean 'optimizer.lr'"),
    ({}, {**GRID, "train.epochs": "choice 1 0"}, "train.epochs"),
    ({"metric": "val_loss"}, GRID, "checkpoint.best = 'val_loss'"),
    ({"metric": "test_r2"}, GRID, "no such metric"),
    ({"config": "nowhere.ini"}, GRID, "nowhere.ini can't be read"),
    ({"ranks": 2, "threads": 40}, GRID, "needs 160 cores"),
])
def test_what_the_trainer_would_not_take_is_refused_before_anything_starts(bench, keys, space,
                                                                            says):
    err = bench.run("run", bench.spec(space=space, **keys), code=2)
    assert says in err and len(err.splitlines()) == 1
    assert not list(bench.dir.glob("runs/sweeps/*"))


def test_a_pipe_or_a_device_is_no_spec_and_no_config(bench):
    os.mkfifo(bench.dir / "pipe")
    for what in ("pipe", "/dev/zero", bench.spec(config="pipe")):
        assert "only regular files are read" in bench.run("run", what, code=2)


def test_an_unknown_command_is_a_usage_error(bench):
    assert "invalid choice: 'start'" in bench.run("start", "s.ini", code=2).splitlines()[-1]


def test_all_is_shown_of_a_trainer_that_does_not_say_what_is_wrong(bench, tmp_path):
    mute = script(tmp_path / "mute", 'echo "libhdf5.so: no such file" >&2\nexit 127')
    err = bench.run("run", bench.spec(), code=2, TRAINER=mute)
    assert "ended with exit code 127\nlibhdf5.so: no such file\n" in err


def test_a_name_that_has_another_spec_is_refused(done):
    sweep = done.sweep()
    before = {p: p.read_bytes() for p in sweep.path.rglob("*") if p.is_file()}
    done.spec("other", name="s", seed=2)
    assert "seed: was 1, is 2" in done.run("run", "other.ini", code=2)
    config = done.dir / "base.ini"
    text = config.read_text()
    config.write_text(text.replace("epochs = 40", "epochs = 41"))
    assert "base.ini has changed" in done.run("run", "s.ini", code=2)
    config.write_text(text)
    assert "no such sweep" in done.run("status", "nobody", code=2)
    after = {p: p.read_bytes() for p in sweep.path.rglob("*") if p.is_file()}
    assert before == after
    assert "6 complete" in done.run("run", "s.ini")  # the same: nothing is left to do
    assert sweep.endings() == [1] * 6

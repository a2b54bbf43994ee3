"""The commands of scripts/sweep.py: each takes the parsed command line and returns an exit code."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sweeplib import engine, lr_find, report, results, slurm
from sweeplib.spec import SweepError, digest, read_regular, read_spec, same_config
from sweeplib.study import Locks, Study, ended, failed

SWEEPS = Path("runs/sweeps")
PROGRAM = Path(__file__).resolve().parents[1] / "sweep.py"
FAILED, STOPPED = 6, 75
UMASK = os.umask(0o22)
os.umask(UMASK)


# ---- before anything starts ----

def trainer_says(*args):
    """None, or the trainer's complaint about its command line."""
    done = subprocess.run([str(engine.trainer()), *args], text=True, capture_output=True,
                          stdin=subprocess.DEVNULL)
    if done.returncode in (0, STOPPED):
        return None
    lines = [line for line in done.stderr.splitlines() if line.startswith("trainer: ")]
    if lines:
        return lines[-1].removeprefix("trainer: ")
    return f"the trainer ended with exit code {done.returncode}\n{done.stderr}".rstrip()


def check_points(spec):
    """Has the trainer judge the config and the metric, by a first step, and each value."""
    first, *others = spec.edges()
    with tempfile.TemporaryDirectory() as folder:
        def args(point):
            return engine.arguments(spec, spec.config, "check", f"{folder}/run", point)
        with ThreadPoolExecutor(4) as pool:
            said = [pool.submit(trainer_says, "train", *args(first), "train.max_steps=1")]
            said += [pool.submit(trainer_says, "check", *args(point)) for point in others]
        complaint = next(filter(None, (s.result() for s in said)), None)
    if complaint:
        raise SweepError(f"{spec.path}: {complaint}")


def differences(folder, spec):
    """What the sweep that is there was given, and this spec wants otherwise."""
    before = read_spec(folder / "spec.ini", folder.name)
    old, new = before.identity, spec.identity
    found = [f"{what}: was {old.get(what, 'not there')}, is {new.get(what, 'not there')}"
             for what in {**old, **new} if old.get(what) != new.get(what)]
    if spec.trials < before.trials:
        found.append(f"[sweep] trials: was {before.trials}, is {spec.trials}: it may only grow")
    same = same_config((folder / "config.ini").read_bytes(), read(spec, spec.config))
    return found + [f"{spec.config} has changed"] * (not same)


def read(spec, path):
    try:
        return read_regular(path)
    except OSError as error:
        raise SweepError(f"{spec.path}: {path} can't be read: {error.strerror}") from None


def make(spec):
    """The sweep's folder: made, or the one that is there if it is the same sweep."""
    folder = SWEEPS / spec.name
    config, text = read(spec, spec.config), read(spec, spec.path)
    if not folder.exists():
        check_points(spec)
        SWEEPS.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{spec.name}.", dir=SWEEPS))
        (new / "config.ini").write_bytes(config)
        (new / "spec.ini").write_bytes(text)
        new.chmod(0o777 & ~UMASK)
        try:
            new.rename(folder)
        except OSError:  # another was faster
            shutil.rmtree(new)
    if not (folder / "spec.ini").is_file():
        raise SweepError(f"{folder} is there already and no sweep: give this one another name")
    if other := differences(folder, spec):
        raise SweepError(f"{folder} holds a sweep with another spec ({'; '.join(other)}): give "
                         "this one another name")
    results.replace(folder / "spec.ini", text)  # trials, parallel, [slurm] ... may be new
    return folder


def find(name):
    """The folder of a sweep's name, folder or spec."""
    path = Path(name)
    if path.is_file():
        path = SWEEPS / read_spec(path).name
    for folder in (path, SWEEPS / name):
        if (folder / "spec.ini").is_file():
            return folder
    raise SweepError(f"{name}: there is no such sweep in {SWEEPS}")


def open_study(folder):
    return Study(folder, read_spec(folder / "spec.ini", folder.name))


# ---- the commands ----

def run(args):
    spec = read_spec(args.what)
    launcher = engine.LocalLauncher(spec)
    if args.dry_run:
        return dry_run(spec, launcher)
    return run_here(make(spec), launcher)


def run_here(folder, launcher):
    study = open_study(folder)
    if not study.locks.take(Locks.ENGINE):
        raise SweepError(f"{folder} is at work already: `sweep.py status {study.spec.name}`")
    begin(study, "local")
    print(f"{folder}: {study.spec.trials} trials, {launcher.slots} at a time", flush=True)
    worker = engine.Worker(study, launcher)
    complete = worker.run()
    print(results.status_text(study))
    return conclude(study, complete, worker.gave_up)


def conclude(study, complete, gave_up):
    """Says how the sweep ended, as far as it goes. -> the exit code."""
    name, bad = study.spec.name, sum(map(failed, study.trials()))
    if complete and not bad:
        print(f"complete: `sweep.py report {name}` draws it")
    elif complete:
        print(f"complete, but {bad} trials have failed: `sweep.py resume {name}` tries them again")
    elif gave_up:
        print(f"sweep: stopped: {gave_up}: mend that, then `sweep.py resume {name}` goes on",
              file=sys.stderr)
    else:
        print(f"stopped: `sweep.py resume {name}` goes on")
    return FAILED if complete and bad else 0 if complete else STOPPED


def begin(study, how):
    study.set_attributes(engine=how)
    study.retry_failed()
    (study.folder / "stop").unlink(missing_ok=True)


def submit(args):
    spec = read_spec(args.what)
    slurm.check_fit(spec)
    if args.dry_run:
        folder = SWEEPS / spec.name
        print(shlex.join(slurm.command(spec, folder, slurm.tasks(spec))))
        print(slurm.script(folder, PROGRAM))
        return dry_run(spec, engine.SlurmLauncher(spec))
    return submit_folder(make(spec))


def submit_folder(folder):
    study = open_study(folder)
    jobs = study.attribute("jobs", [])
    with study.lock:
        if alive := slurm.alive(jobs):
            raise SweepError(f"{folder} is in Slurm's queue already: job {alive[-1]}")
        begin(study, "slurm")
        if study.final(study.trials()):
            print(f"{folder} is complete")
            return 0
        job, tasks = slurm.submit(study.spec, folder, PROGRAM)
        study.set_attributes(jobs=[*jobs, job])
    print(f"{folder}: {study.spec.trials} trials, {tasks} at a time, job {job}; "
          f"`sweep.py status {study.spec.name}` shows how far it is")
    return 0


def work(args):
    """A task of the array."""
    study = open_study(find(args.what))
    worker = engine.Worker(study, engine.SlurmLauncher(study.spec))
    jobs = study.attribute("jobs", [])
    complete = worker.run()
    if complete:
        slurm.cancel_waiting(jobs)
    elif signal.SIGUSR1 in worker.signals:  # the time limit is near
        worker.gave_up = slurm.requeue()
    if complete or worker.gave_up:
        return conclude(study, complete, worker.gave_up)
    return 0


def resume(args):
    folder = find(args.what)
    study = open_study(folder)
    if study.attribute("engine") == "slurm":
        return submit_folder(folder)
    return run_here(folder, engine.LocalLauncher(study.spec))


def dry_run(spec, launcher):
    """Prints the commands; a tpe's first only, as the others follow from results."""
    known = min(spec.trials, 10) if spec.method == "tpe" else spec.trials
    points = []
    with tempfile.TemporaryDirectory() as scratch:
        study = Study(scratch, spec)
        for number in range(known):
            points.append(study.point(number, points))
            output = SWEEPS / spec.name / f"{number:04d}-{digest(points[-1])}"
            output = output / "seed-1" if spec.seeds > 1 else output
            command = launcher.command() + engine.trial_arguments(
                spec, output, points[-1])
            print(f"trial {number}: {shlex.join(command)}")
    if known < spec.trials:
        print(f"trials {known} to {spec.trials - 1}: as the results will suggest")
    return 0


def status(args):
    print(results.status_text(open_study(find(args.what))))
    return 0


def stop(args):
    """The file is seen by every worker, wherever it runs."""
    study = open_study(find(args.what))
    (study.folder / "stop").touch()
    slurm.cancel_waiting(study.attribute("jobs", []))
    until = time.monotonic() + engine.GRACE
    while (running := [t for t in study.trials() if not ended(t)
                       and study.is_held(t)]) and time.monotonic() < until:
        time.sleep(0.2)
    name = study.spec.name
    if running:
        raise SweepError(f"{len(running)} trials still run: they end after a checkpoint; "
                         f"`sweep.py status {name}` shows it")
    print(f"stopped: `sweep.py resume {name}` goes on")
    return 0


def best(args):
    study = open_study(find(args.what))
    trial = study.best(study.trials())
    if not trial:
        raise SweepError(f"{study.folder}: no trial is complete yet")
    spec, folder = study.spec, study.folder_of(trial)
    print(f"# {spec.metric} {trial.value:.6g}, trial {trial.number} of {spec.trials}: {folder}")
    print((study.runs_of(trial)[0] / "config.ini").read_text())
    ranks, name = ["mpirun", "-np", str(spec.ranks)] if spec.ranks > 1 else [], f"{spec.name}-best"
    print("# to train it: " + shlex.join([*ranks, "./trainer", *engine.arguments(
        spec, study.folder / "config.ini", name, f"runs/{name}", trial.params)]))
    return 0


def draw(args):
    study = open_study(find(args.what))
    results.write(study)
    print(report.write(study))
    return 0


COMMANDS = {"run": run, "submit": submit, "status": status, "stop": stop, "resume": resume,
            "best": best, "report": draw, "work": work, "lr-find": lr_find.run}

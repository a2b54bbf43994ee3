"""The learning rate range test: one run whose learning rate rises step by step until the loss does.
Source: Smith, "Cyclical learning rates for training neural networks", WACV 2017."""

import math
import subprocess
from pathlib import Path

import h5py
import numpy as np

from sweeplib import engine
from sweeplib.spec import SweepError

FOLDER = Path("runs/lr-find")
LARGEST = {"sgd": 3, "lars": 30}  # learning rate at the end; of the other optimizers 0.3
STEPS = 300  # at least
DIVERGED = 5  # the trainer's exit code
OURS = ("run.name", "run.output", "run.resume", "run.overwrite", "train.epochs", "train.max_steps",
        "train.patience", "optimizer.schedule", "optimizer.warmup", "optimizer.final_momentum")


def train(config, overrides, name, largest, epochs):
    """{lr, loss} of each step of the run, which may well diverge."""
    folder = FOLDER / name
    command = [str(engine.trainer()), "train", str(config), *overrides, f"run.name={name}",
               f"run.output={folder}", "run.overwrite=true", "run.resume=never",
               "optimizer.schedule=constant", f"optimizer.warmup={epochs}",
               "optimizer.final_momentum=0", f"optimizer.lr={largest}", f"train.epochs={epochs}",
               f"train.eval_every={epochs}", "train.patience=0", "train.max_steps=0",
               "train.max_time=0", "metrics.every=1", "checkpoint.every=0", "checkpoint.best=none"]
    done = subprocess.run(command, text=True, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode not in (0, DIVERGED):
        said = [line for line in done.stderr.splitlines() if line.startswith("trainer: ")]
        raise SweepError(said[-1].removeprefix("trainer: ") if said else
                         f"the trainer ended with exit code {done.returncode}\n{done.stderr}")
    with h5py.File(folder / "metrics.h5", "r") as file:
        steps = file["steps"][:]
    return steps[np.isfinite(steps["loss"])], done.returncode == DIVERGED


def smooth(loss, keep=0.95):
    """An exponential mean, corrected for its beginning."""
    mean, out = 0.0, []
    for n, value in enumerate(loss, 1):
        mean = keep * mean + (1 - keep) * value
        out.append(mean / (1 - keep**n))
    return np.array(out)


def draw(path, name, lr, loss, mean, lowest, suggested):
    from matplotlib.figure import Figure
    figure = Figure(figsize=(7, 4), dpi=130, layout="constrained")
    axis = figure.subplots()
    axis.plot(lr, loss, color="#b8b8b8", lw=0.8, label="loss of a step")
    axis.plot(lr, mean, color="#08306b", lw=1.8, label="smoothed")
    axis.axvline(lowest, color="#777777", ls=":", label=f"lowest at {lowest:.2g}")
    if suggested:
        axis.axvline(suggested, color="#c25b00", ls="--", label=f"suggested: {suggested:.2g}")
    axis.set(xscale="log", xlabel="learning rate", ylabel="training loss",
             title=f"{name}: learning rate range test",
             ylim=(0, 1.3 * max(mean[0], loss[:len(loss) // 10 + 1].max())))
    axis.legend(fontsize=9)
    figure.savefig(path)


def run(args):
    for word in args.overrides:
        if word.partition("=")[0] in OURS:
            raise SweepError(f"{word}: the range test sets this key itself: take it out")
    given = dict(word.split("=", 1) for word in args.overrides if "=" in word)
    name = Path(args.what).stem
    optimizer = given.get("optimizer.name") or engine.config_value(args.what, "optimizer", "name", "sgd")
    try:
        largest = float(given.get("optimizer.lr", LARGEST.get(optimizer, 0.3)))
    except ValueError:
        raise SweepError(f"optimizer.lr={given['optimizer.lr']}: must be a number: where the test "
                         "ends") from None
    overrides = [word for word in args.overrides if not word.startswith("optimizer.lr=")]
    steps, diverged = train(args.what, overrides, name, largest, 1)
    if len(steps) < STEPS and not diverged:
        steps, diverged = train(args.what, overrides, name, largest, math.ceil(STEPS / len(steps)))
    if len(steps) < 10:
        raise SweepError(f"{args.what}: the loss was not finite from step {len(steps) + 1} on: nothing "
                         f"to see below a learning rate of {largest:g}; give a smaller optimizer.lr")
    mean = smooth(steps["loss"])
    at = int(mean.argmin())
    lowest = float(steps["lr"][at])
    suggested = lowest / 4
    path = FOLDER / name / "lr-find.png"
    rose = diverged or mean[-1] > 1.02 * mean[at]
    draw(path, Path(args.what).name, steps["lr"], steps["loss"], mean, lowest, suggested if rose else None)
    end = f"; it diverged at {steps['lr'][-1]:.3g}" if diverged else ""
    print(f"{args.what}: {len(steps)} steps up to a learning rate of {steps['lr'][-1]:.3g}; the smoothed "
          f"loss is lowest at {lowest:.3g}{end}")
    if rose:
        print(f"optimizer.lr = {suggested:.2g} is a quarter of that: a good start, and the peak for onecycle")
    else:
        print(f"the loss did not rise yet: look further, with optimizer.lr={10 * largest:g}")
    print(path)
    return 0

"""Curves of a run, or of several beside each other, regressions with many inputs, and confusions."""

import contextlib
import csv
import gzip
import math
import sys
from pathlib import Path

import h5py
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import PowerNorm

# Told apart in grey and by the colour-blind: by dashes and markers too.
COLOURS = ["#08306b", "#e6842a", "#5b9f6d", "#9e4ea3", "#777777"]
LINES, MARKERS = ["-", "--", ":", "-.", (0, (5, 1, 1, 1))], ["o", "^", "s", "D", "v"]
MOST = 3000  # points of a scatter
LARGEST_TABLE = 62  # classes whose confusions have names and counts
LOSSES = {"cross_entropy": "cross-entropy (nats)", "bce": "binary cross-entropy (nats)",
          "mse": "mean squared error",  # in the target's unit, squared
          "mae": "mean absolute error", "huber": "Huber loss"}


@contextlib.contextmanager
def opened(path):
    """An HDF5 file to read; what is missing or damaged in it ends the program with a line and 4."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        print(f"{Path(sys.argv[0]).name}: {path}: {str(error).strip()}", file=sys.stderr)
        sys.exit(4)


def names_of(folders):
    """Of runs, for a legend: the folder's name, or where two have the same one the whole path."""
    names = [Path(folder).name for folder in folders]
    return [str(folder) if names.count(name) > 1 else name for folder, name in zip(folders, names)]


def draw_curves(run):
    epochs, x = run.epochs, run.epochs["epoch"]
    if len(epochs) == 0:
        return
    splits = [s for s in ("val", "test") if np.isfinite(epochs[f"{s}_loss"]).any()]
    names = {"val": "validation", "test": "test"}
    score, unit, factor = "accuracy", "accuracy (%)", 100
    if run.regression:
        score, unit, factor = "r2", "R² (share of the variance explained)", 1
    figure, axes = plt.subplots(1, 1 + bool(splits), figsize=(5.5 + 4.5 * bool(splits), 4),
                                squeeze=False, constrained_layout=True)
    mark = "o" if len(x) <= 30 else None
    left = axes[0][0]
    per_epoch = epochs["step"][0] / x[0]
    if per_epoch > 1:
        left.plot(run.steps["step"] / per_epoch, run.steps["loss"], color="#c8c8c8", lw=0.6,
                  label="training, each step", zorder=1)
    left.plot(x, epochs["train_loss"], color=COLOURS[0], marker=mark,
              label="training, mean of the epoch" if per_epoch > 1 else "training")
    if splits and f"train_{score}" in epochs.dtype.names:
        axes[0][-1].plot(x, factor * epochs[f"train_{score}"], color=COLOURS[0], marker=mark, label="training")
    for k, split in enumerate(splits, 1):
        drawn = np.isfinite(epochs[f"{split}_loss"])
        for axis, column, by in ((left, "loss", 1), (axes[0][-1], score, factor)):
            axis.plot(x[drawn], by * epochs[f"{split}_{column}"][drawn], color=COLOURS[k],
                      ls=LINES[k], marker=mark and MARKERS[k],
                      label=names[split])
    values = epochs["train_loss"][np.isfinite(epochs["train_loss"])]
    if len(values) and values.min() > 0 and values.max() > 30 * values.min():
        left.set_yscale("log")
    of = f" ({run.targets[0]}²)" if run.loss == "mse" and len(run.targets) == 1 else ""
    left.set(title="loss", ylabel=LOSSES[run.loss] + of)
    for axis in axes[0]:
        axis.set_xlabel("epoch")
        axis.grid(color="#e4e4e4", lw=0.6)
        axis.legend(frameon=False)
        axis.xaxis.get_major_locator().set_params(integer=True)
    if splits:
        axes[0][-1].set(title=score.replace("r2", "R²"), ylabel=unit)
    figure.suptitle(f"{run.name}: {' '.join(run.layers)}, {run.epoch} epochs")
    run.save(figure, "curves")


def read(folder):
    """Its epochs."""
    with opened(Path(folder) / "metrics.h5") as file:
        return file["epochs"][:]


def draw_compare(folders):
    """Loss, and accuracy or R2, of all runs over the epochs -> compare.png, compare.svg here."""
    runs = list(zip(names_of(folders), map(read, folders)))
    columns = [("loss", 1, "loss"), ("accuracy", 100, "accuracy (%)"), ("r2", 1, "R²")]
    found = []
    for column, factor, label in columns:
        for split in ("val", "test", "train"):
            name = f"{split}_{column}"
            if all(name in rows.dtype.names and np.isfinite(rows[name]).any() for _, rows in runs):
                found.append((name, factor, label))
                break
    figure, axes = plt.subplots(1, max(1, len(found)), figsize=(5.5 * max(1, len(found)), 4), squeeze=False,
                                constrained_layout=True)
    for axis, (name, factor, label) in zip(axes[0], found):
        for k, (run, rows) in enumerate(runs):
            drawn = np.isfinite(rows[name])
            axis.plot(rows["epoch"][drawn], factor * rows[name][drawn], color=COLOURS[k % 5], ls=LINES[k // 5 % 5],
                      marker=MARKERS[k % 5] if drawn.sum() <= 30 else None, label=run)
        axis.set(xlabel="epoch", ylabel=label, title=name.replace("_", " ").replace("val", "validation"))
        axis.grid(color="#e4e4e4", lw=0.6)
        axis.legend(frameon=False)
    for kind in ("png", "svg"):
        figure.savefig(f"compare.{kind}", dpi=150)
        print(f"compare.{kind}")
    plt.close(figure)


def numbers(rows, classes=()):
    """Rows as floats; names of classes become their numbers."""
    rows = [[v.decode() if isinstance(v, bytes) else v for v in row] for row in rows]
    return np.array([[classes.index(v) if v in classes else float(v) for v in row] for row in rows])


def table(run, path, samples=True, targets=True):
    """A file of samples as `trainer` reads it: inputs [n, inputs], targets [n, targets]; None: not asked for."""
    if ".h5" in path or ".hdf5" in path:
        path, _, inside = path.partition(":")
        with opened(path) as file:
            group = file[inside or "/"]
            x = group["x"][()] if samples else None
            y = group[run.data["target"] or "y"][()] if targets else None
        return x, None if y is None else numbers(y.reshape(len(y), -1), run.classes)
    try:
        with (gzip.open if path.endswith(".gz") else open)(path, "rt", newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            file.seek(0)
            rows = list(csv.DictReader(file, delimiter=max(",;\t", key=head.count)))
        if not rows:
            raise ValueError("has no rows")
        return [numbers([[row[name] for name in names] for row in rows], classes) if asked else None
                for names, classes, asked in ((run.inputs, (), samples), (run.targets, run.classes, targets))]
    except (OSError, EOFError, ValueError, KeyError, TypeError, csv.Error) as error:
        why = f"no column {error}" if isinstance(error, KeyError) else getattr(error, "strerror", None) or error
        more = "" if Path(path).exists() else "; the paths of a run start in the folder in which it was started"
        print(f"{Path(sys.argv[0]).name}: {path}: {why}{more}", file=sys.stderr)
        sys.exit(4)


def draw_predicted(run):
    """Predicted against true values, where there are too many inputs for a line or a plane."""
    if not run.regression or len(run.inputs) <= 2 or not run.data["train"]:
        return
    split = "test" if run.data["test"] else "train"
    rows = run.predict() if run.data["test"] else run.predict("--split", "train")
    true = table(run, run.data[split], samples=False)[1]
    shown = run.targets[:6]
    across = min(3, len(shown))
    down = math.ceil(len(shown) / across)
    figure, axes = plt.subplots(down, across, figsize=(4 * across, 3.8 * down), squeeze=False, constrained_layout=True)
    step = max(1, len(rows) // MOST)
    for axis in axes.flat[len(shown):]:
        axis.axis("off")
    for axis, (k, name) in zip(axes.flat, enumerate(shown)):
        x = np.array([true[int(row["index"])][k] for row in rows])
        y = np.array([float(row[f"{name}_predicted"]) for row in rows])
        ends = [min(x.min(), y.min()), max(x.max(), y.max())]
        axis.plot(ends, ends, color="#777777", lw=1, label="right")
        axis.plot(x[::step], y[::step], "o", ms=3, color=COLOURS[0], alpha=0.6, label=f"{split} samples")
        r2 = 1 - ((x - y) ** 2).sum() / (((x - x.mean()) ** 2).sum() or 1)
        axis.set(xlabel=f"{name}, true", ylabel=f"{name}, predicted", title=f"R² {r2:.4f}")
        axis.legend(frameon=False, fontsize=8)
    figure.suptitle(f"{run.name}: {split} set")
    run.save(figure, "predicted")


def draw_confusion(run, rows, where):
    label, said = numbers([[row["label"], row["prediction"]] for row in rows]).astype(int).T
    count = max(2, run.outputs)
    counts = np.zeros((count, count), int)
    np.add.at(counts, (label, said), 1)
    names = run.classes or [str(k) for k in range(count)]
    side = 2.6 + (0.42 if count <= 20 else 0.24) * min(count, LARGEST_TABLE)
    figure, axis = plt.subplots(figsize=(side + 1.2, side), constrained_layout=True)
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # By its root: a few percent are seen.
    map_ = axis.imshow(share, cmap="Greys", norm=PowerNorm(0.5, 0, 100))
    figure.colorbar(map_, label="share of the true class (%)", shrink=0.8)
    if count <= LARGEST_TABLE:
        for (i, j), n in np.ndenumerate(counts):
            if n:
                axis.text(j, i, n, ha="center", va="center",
                          fontsize=7 if count <= 20 else 5, color="white" if share[i, j] > 30 else "black")
        slanted, small = max(map(len, names)) > 3, 10 if count <= 20 else 7
        axis.set_xticks(range(count), names, rotation=45 if slanted else 0,
                        ha="right" if slanted else "center", fontsize=small)
        axis.set_yticks(range(count), names, fontsize=small)
    right = np.trace(counts) / counts.sum()
    axis.set(xlabel="predicted class", ylabel="true class",
             title=f"{run.name}: {where}, {100 * right:.2f}% right of {counts.sum()}")
    run.save(figure, "confusion")

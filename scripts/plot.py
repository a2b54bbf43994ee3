#!/usr/bin/env python3
"""Pictures of a run: python3 scripts/plot.py runs/softmax -> runs/softmax/plots/*.png, *.svg

    curves      loss, and accuracy or R2, over the epochs
    fit         one or two inputs: the points with the fitted line, curve or boundary
    predicted   numbers from more inputs: predicted against true
    confusion   classes: what was predicted for what, in the test set, without one in the
                validation split, without that in the training set
    images      images: some of the test set with predicted and true class, wrong ones marked
    weights     images without a hidden layer: the weights of each class
    kernels     images with hidden layers: the first layer's kernels, or its units' weights
    maps        the same: what the layers make of the first test image

    python3 scripts/plot.py RUN --input NEW.csv   -> the same, with new samples on the fit

    python3 scripts/plot.py RUN RUN ...     -> compare.png: loss and accuracy of the runs, in one picture

    python3 scripts/plot.py --data CONFIG [section.key=value ...]       -> <config>-data.png
    python3 scripts/plot.py --augment CONFIG [section.key=value ...]    -> <config>-augment.png

draw the first training images with their labels, and what [augment] makes of them.

Call it in the folder in which the run was started: the paths in its config start there. The
predictions are those of `trainer predict` ($TRAINER, ./trainer or this repository's) on the
last checkpoint."""

import configparser
import csv
import gzip
import math
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    import packages
    packages.need("h5py", "matplotlib", "numpy")
import h5py  # noqa: E402
import matplotlib  # noqa: E402

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first)
import numpy as np  # noqa: E402

import plot_layers  # noqa: E402
import plot_runs  # noqa: E402
import plot_samples  # noqa: E402

COLOURS, LINES, MARKERS = plot_runs.COLOURS, plot_runs.LINES, plot_runs.MARKERS


def texts(values):
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]


def find_trainer():
    here = Path(__file__).resolve().parents[1] / "trainer"
    for path in filter(None, (os.environ.get("TRAINER"), "./trainer", here)):
        if os.access(path, os.X_OK):
            return str(Path(path).absolute())
    sys.exit("plot.py: no trainer found: run make, or set TRAINER")


class Run:
    """What the pictures need of a run's folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.checkpoint = self.folder / "checkpoints" / "last.h5"
        for path in (self.checkpoint, self.folder / "metrics.h5"):
            if not path.exists():
                sys.exit(f"plot.py: {path} is missing: is {folder} the folder of a run?")
        with plot_runs.opened(self.checkpoint) as file:
            text, model = file["config"][()].decode(), file["model"]
            self.loss, self.layers = model.attrs["loss"], model.attrs["layers"].split()
            self.regression = self.loss not in ("cross_entropy", "bce")
            self.shape = [int(n) for n in model.attrs["input_shape"]]
            self.classes = texts(model.attrs["classes"])
            self.targets = texts(model.attrs["targets"])
            self.inputs = texts(model.attrs["columns"])[:-len(self.targets) or None]
            self.weight, self.bias = (
                model[name][()] if name in model else None for name in ("0.weight", "0.bias"))
            self.epoch = int(file["state"].attrs["epoch"])
            data = file["data"].attrs
            self.scaled, self.held = len(data["mean"]) > 0, int(data["val_samples"])
            self.used = int(data["train_samples"]) + self.held  # of the training file's rows
        with plot_runs.opened(self.folder / "metrics.h5") as file:
            self.steps, self.epochs = file["steps"][:], file["epochs"][:]
        config = configparser.ConfigParser(interpolation=None)
        config.read_string(text)
        self.data, self.name = config["data"], config["run"]["name"]
        self.linear = len(self.layers) == 1
        self.outputs = int(self.layers[-1].split(":")[1])
        self.plots = self.folder / "plots"
        self.plots.mkdir(exist_ok=True)

    def predict(self, *arguments):
        """`trainer predict` on the last checkpoint -> its rows as dictionaries."""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.csv"
            done = subprocess.run(
                [find_trainer(), "predict", str(self.checkpoint), "--output", str(out),
                 *map(str, arguments)], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                sys.exit(f"plot.py: {done.stderr.strip()}")
            with open(out, newline="") as file:
                return list(csv.DictReader(file))

    def predict_at(self, points):
        """The model at points [n, inputs]: values, or probabilities [n, outputs]."""
        with tempfile.NamedTemporaryFile("w", suffix=".csv", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(self.inputs)
            writer.writerows([[repr(float(v)) for v in point] for point in points])
            file.flush()
            rows = self.predict("--input", file.name)
        if self.regression:
            return columns(rows, [f"{t}_predicted" for t in self.targets])
        return columns(rows, [f"p{k}" for k in range(max(2, self.outputs))])

    def held_out(self):
        """The training file's rows that are the validation split."""
        return [int(row["index"]) for row in self.predict("--split", "val")] if self.held else []

    def points(self):
        """The training file's inputs [n, inputs], targets [n, targets], and the rows held out."""
        X, y = plot_runs.table(self, self.data["train"])
        return X[:self.used], y[:self.used], self.held_out()

    def save(self, figure, name):
        for kind in ("png", "svg"):
            path = self.plots / f"{name}.{kind}"
            figure.savefig(path, dpi=150)
            print(path)
        plt.close(figure)


def columns(rows, names):
    """Columns of dictionaries as floats."""
    return plot_runs.numbers([[row[name] for name in names] for row in rows])


# ---- one or two inputs ----

def equation(run):
    """The fitted line in words, where the weights are those of the inputs as they are."""
    if not run.linear or run.scaled or run.outputs > 1:
        return "fitted"
    terms = [f"{w:.4g} {n}" for w, n in zip(run.weight[0], run.inputs)]
    text = " + ".join([*terms, f"{run.bias[0]:.4g}"]).replace("+ -", "− ")
    if run.regression:
        return f"{run.targets[0]} = {text}"
    return f"p = sigmoid({text})" if len(terms) == 1 else f"boundary: {text} = 0"


def spread(values, share):
    """A little more than the range of the values."""
    low, high = values.min(), values.max()
    room = share * (high - low or 1)
    return low - room, high + room


def mark_held(axis, x, y, held):
    """Crosses on the points in rows that were not trained on."""
    if held:
        axis.plot(x[held], y[held], "x", color="black", ms=8, mew=1.2, zorder=4,
                  label="held out (validation split)")


def mark_new(axis, x, y, values=(), label="new, predicted"):
    """Stars where --input's samples are, with what is predicted of each."""
    axis.plot(x, y, "*", color="#ffd92f", mec="black", ms=14, mew=0.9, zorder=5, ls="none", label=label)
    for at, value in zip(zip(x, y), values):
        axis.annotate(value, at, (9, 6), textcoords="offset points", zorder=6, bbox={
            "boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8})


def draw_line(run, X, y, held, new):
    """One input: points, and the model as a line or a curve of probability."""
    figure, axis = plt.subplots(figsize=(6, 4.5), constrained_layout=True)
    at = np.linspace(*spread(np.append(X[:, 0], new[:, 0]), 0.1), 200)
    values = run.predict_at(at[:, None])
    if run.regression:
        for k, name in enumerate(run.targets):
            axis.plot(X[:, 0], y[:, k], MARKERS[k % 5], color=COLOURS[k % 5],
                      mfc="white", mew=1.6, label=f"{name}, given")
            axis.plot(at, values[:, k], ls=LINES[k % 5], color=COLOURS[k % 5],
                      label=equation(run) if run.outputs == 1 else f"{name}, fitted")
            mark_held(axis, X[:, 0], y[:, k], held)
        axis.set_ylabel(", ".join(run.targets))
    else:
        binary = values.shape[1] == 2
        for k in range(1 if binary else 0, values.shape[1]):
            axis.plot(at, values[:, k], ls=LINES[(k - binary) % 5],
                      color=COLOURS[(k - binary) % 5],
                      label=equation(run) if binary else f"p({label(run, k)})")
        if binary:
            axis.plot(X[:, 0], y[:, 0], "o", color=COLOURS[1], mec="black", mew=0.8,
                      label=f"{run.targets[0]}, given")
            mark_held(axis, X[:, 0], y[:, 0], held)
            axis.axhline(0.5, color="#999999", lw=0.8, ls=":")
        axis.set_ylabel(f"probability of {label(run, 1)}" if binary else "probability")
    if len(new):
        there = run.predict_at(new)
        shown = there if run.regression or there.shape[1] > 2 else there[:, 1:]
        for k in range(shown.shape[1]):
            mark_new(axis, new[:, 0], shown[:, k], [f"{v:.4g}" for v in shown[:, k]],
                     "new, predicted" if k == 0 else None)
    axis.set(xlabel=run.inputs[0], title=f"{run.name}: {', '.join(run.targets)} by "
             f"{run.inputs[0]}, epoch {run.epoch}")
    axis.grid(color="#e4e4e4", lw=0.6)
    axis.legend(frameon=False)
    run.save(figure, "fit")


def label(run, k):
    return run.classes[k] if run.classes else f"{run.targets[0]} = {k}"


def draw_regions(axis, gx, gy, p):
    """Where each class is the likeliest: by how much it is above the next one, so that edges are smooth."""
    for k in range(p.shape[2]):
        above = p[:, :, k] - np.delete(p, k, axis=2).max(axis=2)
        if (above > 0).any():
            axis.contourf(gx, gy, above, [0, 1.01], colors=[COLOURS[k % 5]], alpha=0.18)
        if (above > 0).any() and (above < 0).any():
            axis.contour(gx, gy, above, [0], colors="black", linewidths=0.9)


def draw_plane(run, X, y, held, new):
    """Two inputs: points on the model's values or classes, with the boundary."""
    figure, axis = plt.subplots(figsize=(6.5, 5), constrained_layout=True)
    side = 120
    gx, gy = np.meshgrid(*(np.linspace(*spread(np.append(X[:, k], new[:, k]), 0.08), side)
                           for k in (0, 1)))
    values = run.predict_at(np.column_stack([gx.ravel(), gy.ravel()]))
    if run.regression:
        z = values[:, 0].reshape(side, side)
        map_ = axis.contourf(gx, gy, z, 12, cmap="cividis", alpha=0.6)
        figure.colorbar(map_, label=f"{run.targets[0]}, predicted")
        axis.plot(X[:, 0], X[:, 1], "o", color=COLOURS[1], mec="black", label="given")
        for point, value in zip(X, y[:, 0]):
            axis.annotate(f"{value:g}", point, (7, 5), textcoords="offset points", bbox={
                "boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8})
    else:
        count = values.shape[1]
        if count == 2:
            z = values[:, 1].reshape(side, side)
            map_ = axis.contourf(gx, gy, z, np.linspace(0, 1, 11), cmap="cividis", alpha=0.45)
            figure.colorbar(map_, label=f"probability of {label(run, 1)}")
            axis.contour(gx, gy, z, [0.5], colors="black", linewidths=1.8)
            axis.plot([], [], "-", color="black", lw=1.8, label="boundary, probability 0.5")
        else:
            draw_regions(axis, gx, gy, values.reshape(side, side, count))
        for k in range(count):
            mine = y[:, 0] == k
            axis.plot(X[mine, 0], X[mine, 1], MARKERS[k % 5], color=COLOURS[k % 5], ms=5.5,
                      mec="black" if k else COLOURS[0], mew=0.7, mfc=None if k else "white",
                      label=label(run, k))
    mark_held(axis, X[:, 0], X[:, 1], held)
    if len(new):
        there = run.predict_at(new)
        mark_new(axis, new[:, 0], new[:, 1], [f"{v:.4g}" for v in there[:, 0]] if run.regression else
                 [label(run, k) for k in there.argmax(axis=1)])
    words = equation(run)
    axis.set(xlabel=run.inputs[0], ylabel=run.inputs[1],
             title=f"{run.name}: {run.targets[0]} by {' and '.join(run.inputs)}, epoch "
                   f"{run.epoch}" + (f"\n{words}" if words != "fitted" else ""))
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncol=2, frameon=False)
    run.save(figure, "fit")


def draw_fit(run, new=None):
    """new: a file of samples to predict, or None."""
    if not run.inputs or len(run.inputs) > 2 or (run.loss != "cross_entropy" and
                                                 len(run.inputs) == 2 and run.outputs > 1):
        if new:
            sys.exit("plot.py: --input draws new samples where a table has one or two inputs")
        return
    there = plot_runs.table(run, new, targets=False)[0] if new else np.empty((0, len(run.inputs)))
    (draw_line if len(run.inputs) == 1 else draw_plane)(run, *run.points(), there)


# ---- classes ----

def read_idx(path):
    opener = gzip.open if str(path).endswith(".gz") else open
    with opener(path, "rb") as file:
        raw = file.read()
    dims = np.frombuffer(raw, ">i4", raw[3], 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(dims)


def planes(values, shape):
    """Samples of a shape -> [n, rows, columns, channels], which come first or, where only there are
    few enough of them, last."""
    values = values.reshape(-1, *shape)
    if len(shape) > 3:
        values = values.mean(axis=tuple(range(1, len(shape) - 2)))[:, None]
    first = values.shape[1] <= 4 or values.shape[-1] > 4
    return np.moveaxis(values, 1, -1) if first else values


def test_array(run):
    """The test set's images as they are in the file."""
    path = run.data["test"] or os.path.join(run.data["dir"], "t10k-images-idx3-ubyte")
    if ".h5" in path or ".hdf5" in path:
        path, _, inside = path.partition(":")
        with h5py.File(path, "r") as file:
            item = file[inside or "/"]
            if isinstance(item, h5py.Group):
                item = item["images" if "images" in item else "x"]
            return item[:]
    if ".npy" in path:
        with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
            return np.load(file)
    return read_idx(path if os.path.exists(path) else f"{path}.gz")


def test_images(run):
    """The test set's images: [n, rows, columns] in grey, or [n, rows, columns, 3]."""
    images = test_array(run)
    images = planes(images, images.shape[1:] if images.ndim == 4 else run.shape)
    if images.shape[-1] != 3:
        return images.mean(axis=-1)
    low, high = (0, 255) if images.dtype == np.uint8 else (images.min(), images.max())
    return (images - low) / ((high - low) or 1)


def draw_images(run, rows):
    across, down = 8, 5
    wrong = [k for k, row in enumerate(rows) if row["label"] not in ("", row["prediction"])]
    first = min(len(rows), 3 * across)
    chosen = list(range(first))
    chosen += [k for k in wrong if k not in chosen][:down * across - len(chosen)]
    images = test_images(run)
    down = math.ceil(len(chosen) / across)
    figure, axes = plt.subplots(down, across, figsize=(1.35 * across, 1.62 * down + 0.6),
                                squeeze=False, constrained_layout=True)
    for axis in axes.flat[len(chosen):]:
        axis.axis("off")
    for axis, k in zip(axes.flat, chosen):
        row, bad = rows[k], k in wrong
        true = run.classes[int(row["label"])] if row["label"] else "?"
        axis.imshow(images[k], cmap="Greys")
        axis.set(xticks=[], yticks=[])
        axis.set_title(f"{'✗ ' * bad}{row['name']}\n(is {true})", fontsize=8, pad=3,
                       color="#a00000" if bad else "black",
                       weight="bold" if bad else "normal", linespacing=1.1)
        plt.setp(axis.spines.values(), lw=2.5 if bad else 0.6,
                 color="#a00000" if bad else "#bbbbbb")
    figure.suptitle(f"{run.name}: predicted (and true) class of the first {first} test images"
                    f"{', then the next wrong ones' * (len(chosen) > first)}; epoch "
                    f"{run.epoch}", fontsize=11)
    run.save(figure, "images")


def draw_weights(run):
    across = min(run.outputs, 5)
    down = math.ceil(run.outputs / across)
    figure, axes = plt.subplots(down, across, figsize=(1.8 * across + 1, 2 * down + 0.6),
                                squeeze=False, constrained_layout=True)
    pictures = planes(run.weight, run.shape)
    colours = pictures.shape[-1] > 1
    pictures = pictures.mean(axis=-1)
    most = np.abs(pictures).max()
    for axis in axes.flat[run.outputs:]:
        axis.axis("off")
    for axis, picture, name in zip(axes.flat, pictures, run.classes):
        map_ = axis.imshow(picture, cmap="gray", vmin=-most, vmax=most)
        axis.set(xticks=[], yticks=[], title=name)
    figure.colorbar(map_, ax=axes, shrink=0.8, label=f"weight of a pixel{', its mean' * colours}")
    figure.suptitle(f"{run.name}: weights of each class, epoch {run.epoch}; white counts for "
                    "the class, black against it")
    run.save(figure, "weights")


def draw_classes(run):
    if run.regression or (run.loss == "bce" and run.outputs > 1):
        return
    tested = run.data["test"] or run.data["dir"]
    if tested:
        rows, where = run.predict(), "test set"
    elif run.held:
        rows, where = run.predict("--split", "val"), "validation split"
    else:
        rows, where = run.predict("--split", "train"), "training set"
    if rows and rows[0]["label"]:
        plot_runs.draw_confusion(run, rows, where)
    if len(run.shape) > 1 and tested:
        draw_images(run, rows)
    if len(run.shape) > 1 and run.linear and run.outputs > 1:
        draw_weights(run)


def draw_layers(run):
    if len(run.shape) > 1:
        tested = run.data["test"] or run.data["dir"]
        plot_layers.draw(run, test_array(run) if tested else None)


def main():
    grids = {"--data": plot_samples.draw_data, "--augment": plot_samples.draw_augmented}
    if len(sys.argv) > 2 and sys.argv[1] in grids:
        return grids[sys.argv[1]](find_trainer(), sys.argv[2], sys.argv[3:])
    new = sys.argv.pop() if sys.argv[2:3] == ["--input"] and len(sys.argv) == 4 else None
    if new:
        del sys.argv[2]
    if len(sys.argv) < 2 or any(word.startswith("-") for word in sys.argv[1:]):
        print(__doc__)
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    if len(sys.argv) > 2:
        return plot_runs.draw_compare(sys.argv[1:])
    run = Run(sys.argv[1])
    plot_runs.draw_curves(run)
    draw_fit(run, new)
    plot_runs.draw_predicted(run)
    draw_classes(run)
    draw_layers(run)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it
    main()

#!/usr/bin/env python3
"""One page with all of a run, or of several beside each other: report.html, which needs no network.

    scripts/report.py RUN ... [-o report.html]

Summary, config, curves (pointer or arrow keys say the values), the figures of each class and the confusion
matrix of `trainer eval`, the surest mistakes as images, the first layer's weights, what the layers make
of a sample, where the time went, and where the run comes from. Call it in the folder in which the runs
were started: the paths in their configs
start there. Needs h5py, numpy and matplotlib's neighbour plot.py; $TRAINER or ./trainer predicts."""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import packages

if __name__ == "__main__":
    packages.need("h5py", "matplotlib", "numpy")
import numpy as np  # noqa: E402
import plot  # noqa: E402
import plot_layers  # noqa: E402
import plot_runs  # noqa: E402
from reportlib import page  # noqa: E402

MISTAKES, KERNELS, CHANNELS = 24, 48, 10
PHASES = ["data", "forward", "backward", "reduce", "update", "idle"]


class Report:
    """What a run's folder says, and what the trainer makes of its test set."""

    def __init__(self, folder):
        self.run = plot.Run(folder)
        self.folder = Path(folder)
        self.name = self.run.name
        self.split = "test" if self.run.data["test"] or self.run.data["dir"] else \
            "val" if self.run.held else "train"
        with plot_runs.opened(self.folder / "metrics.h5") as file:
            self.facts = {key: value.decode() if isinstance(value, bytes) else value
                          for key, value in file.attrs.items()}
            self.profile = file["profile"][:]
        with plot_runs.opened(self.run.checkpoint) as file:
            self.origin = {key: str(file.attrs[key]) for key in ("program", "commit", "created")}
        self.score, self.figures = self.evaluate()

    def evaluate(self):
        """(eval's first line, rows of its table)"""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "scores.csv"
            done = subprocess.run([plot.find_trainer(), "eval", str(self.run.checkpoint), "--split", self.split,
                                   "--output", str(out)], text=True, capture_output=True, check=False)
            if done.returncode != 0:
                return (done.stderr.strip().splitlines() or ["no score"])[-1], []
            rows = []
            if out.exists():
                with open(out, newline="", encoding="utf-8") as file:
                    rows = list(csv.reader(file))
            return done.stdout.splitlines()[0], rows


# ---- sections: each returns HTML, or "" where a run has nothing of that kind ----

def summary(reports):
    rows = [["status", *(r.facts["status"] for r in reports)],
            ["layers", *(" ".join(r.run.layers) for r in reports)],
            ["parameters", *(f"{int(r.facts['parameters']):,}" for r in reports)],
            ["epochs", *(str(r.run.epoch) for r in reports)],
            ["seconds of training", *(f"{float(np.nansum(r.run.epochs['seconds'])):.4g}" for r in reports)],
            ["score", *(r.score for r in reports)]]
    return "<h2>Summary</h2>" + page.table(["", *(r.name for r in reports)], rows)


def curves(reports):
    """Loss, and accuracy or R2, of all runs; the steps of one."""
    def series(columns, factor=1):
        found = {}
        for r in reports:
            for column in columns:
                if column in r.run.epochs.dtype.names and len(r.run.epochs):
                    label = column.replace("_", " ")
                    name = f"{r.name}: {label}" if len(reports) > 1 else label
                    found[name] = r.run.epochs["epoch"], factor * r.run.epochs[column]
        return found
    several = len(reports) > 1
    losses = ["val_loss", "test_loss"] if several else ["train_loss", "val_loss", "test_loss"]
    parts = ["<h2>Curves</h2>", page.curves("loss over the epochs", "epoch", series(losses) or series(
        ["train_loss"]), 1, log=True)]
    parts.append(page.curves("accuracy over the epochs, in percent", "epoch", series(
        ["val_accuracy", "test_accuracy"] if several else ["train_accuracy", "val_accuracy", "test_accuracy"], 100),
        2))
    parts.append(page.curves("R2 over the epochs", "epoch", series(["val_r2", "test_r2"]), 3))
    steps = reports[0].run.steps
    if not several and len(steps) > 2:
        cut = np.array_split(np.arange(len(steps)), min(300, len(steps)))
        x = [steps["step"][k[-1]] for k in cut]
        parts.append("<h3>Steps</h3>" + page.curves(
            "loss of the steps", "step", {"loss": (x, [steps["loss"][k].mean() for k in cut])}, 4, log=True))
        parts.append(page.curves("gradient norm of the steps", "step", {
            "gradient norm": (x, [steps["grad_norm"][k].mean() for k in cut])}, 5, log=True))
        parts.append(page.curves("learning rate of the steps", "step",
                                 {"learning rate": (x, [steps["lr"][k[-1]] for k in cut])}, 6))
    return "".join(parts)


def figures(r):
    """Per-class or per-target figures, and the confusion matrix."""
    if not r.figures:
        return f"<p>{page.esc(r.score)}</p>"
    head, *rows = r.figures
    own = [k for k, name in enumerate(head) if not name.startswith("predicted_")]

    def number(text):
        try:
            value = float(text)
            return int(value) if value == int(value) and "." not in text else value
        except ValueError:
            return text
    parts = [f"<h2>{page.esc(r.score)}</h2>",
             page.table([head[k] for k in own], [[number(row[k]) for k in own] for row in rows],
                        f"{r.split} samples")]
    if len(own) < len(head) and len(rows) <= 40:
        table = np.array([[int(row[k]) for k in range(len(head)) if k not in own] for row in rows])
        share = table / np.maximum(table.sum(1, keepdims=True), 1)
        names = [row[1] for row in rows]
        lines = ["<tr><th>is \\ taken for</th>" + "".join(f'<th scope="col">{page.esc(n)}</th>' for n in names)
                 + "</tr>"]
        for name, counts, part in zip(names, table, share):
            cells = "".join(f'<td style="background: rgba(37, 99, 168, {0.75 * p:.3f})">{n or ""}</td>'
                            for n, p in zip(counts, part))
            lines.append(f'<tr><th scope="row">{page.esc(name)}</th>{cells}</tr>')
        parts.append('<h3>Confusion</h3><div class="table"><table><caption>rows: the true class</caption>'
                     + "".join(lines) + "</table></div>")
    return "".join(parts)


def mistakes(r):
    """The wrong answers that the model was surest of."""
    run = r.run
    if run.regression or r.split != "test" or len(run.shape) < 2 or run.outputs < 2:
        return ""
    rows = [row for row in run.predict() if row["label"] not in ("", row["prediction"])]
    rows.sort(key=lambda row: -float(row[f"p{row['prediction']}"]))
    if not rows:
        return "<h2>Mistakes</h2><p>There are none.</p>"
    try:
        pictures = plot.test_images(run)
    except (OSError, ValueError, KeyError):
        return ""
    shown = []
    for row in rows[:MISTAKES]:
        image, true = pictures[int(row["index"])], run.classes[int(row["label"])]
        sure = 100 * float(row[f"p{row['prediction']}"])
        high = 255 if image.ndim == 2 and image.max() > 1 else None
        below = f"{page.esc(row['name'])} {sure:.0f}%<br>is {page.esc(true)} (#{row['index']})"
        shown.append((page.as_pixels(image, 0 if high else None, high),
                      f"sample {row['index']}: taken for {row['name']}, is {true}", below))
    return f"<h2>Mistakes</h2><p>The surest of {len(rows)} wrong answers.</p>" + page.grid(shown)


def weights(r):
    """The first layer's kernels, or its units' weights, as images."""
    if len(r.run.shape) < 2:
        return ""
    layer, word, pictures = plot_layers.first_weights(plot_layers.Net(r.run.checkpoint))
    if pictures is None:
        return ""
    most = np.abs(pictures).max() or 1
    shown = [(page.as_pixels(p, -most, most), f"weights {k} of layer {layer}", str(k))
             for k, p in enumerate(pictures[:KERNELS])]
    more = f", the first {KERNELS} of {len(pictures)}" if len(pictures) > KERNELS else ""
    return f"<h2>Layer {layer}, {page.esc(word)}{more}</h2><p>White weights look for ink, black ones for none.</p>" \
        + page.grid(shown)


def as_rows(values):
    """Values of a flat layer as an image about twice as wide as high."""
    wide = max(1, round((2 * len(values)) ** 0.5))
    return np.pad(values, (0, -len(values) % wide)).reshape(-1, wide)


def activations(r):
    """What each layer makes of the first test image."""
    run = r.run
    if len(run.shape) < 2 or r.split != "test" or run.linear:
        return ""
    try:
        image = plot.test_images(run)[0]
    except (OSError, ValueError, KeyError):
        return ""
    net = plot_layers.Net(run.checkpoint)
    *layers, (last, outputs) = net.outputs(net.normalised(plot_layers.as_sample(image, net.shape)))
    parts = ["<h2>From layer to layer</h2><p>What the layers make of test sample 0; black is least, white is most, "
             "of a layer.</p>"]
    for word, values in layers:
        size = " x ".join(map(str, values.shape))
        pictures = values[:CHANNELS] if values.ndim == 3 else [as_rows(values)]
        more = f", the first {CHANNELS}" if values.ndim == 3 and len(values) > CHANNELS else ""
        low, high = values.min(), values.max()
        parts.append(f"<h3>{page.esc(word)}: {size}{more}</h3>" + page.grid(
            [(page.as_pixels(p, low, high), f"{word}, channel {k}" if values.ndim == 3 else word, "")
             for k, p in enumerate(pictures)]))
    names = run.classes if len(run.classes) == len(outputs) else [str(k) for k in range(len(outputs))]
    return "".join(parts) + f"<h3>{page.esc(last)}</h3>" + page.table(names, [[float(v) for v in outputs]])


def times(reports):
    rows = []
    for r in reports:
        if len(r.profile):
            spent = [float(r.profile[f"{phase}_seconds"].mean()) for phase in PHASES]
            rows.append([r.name, *(f"{100 * s / (sum(spent) or 1):.1f}%" for s in spent),
                         f"{float(r.profile['flops_per_second'].mean()) / 1e9:.4g}",
                         f"{float(np.nanmean(r.run.epochs['samples_per_second'])):.0f}"])
    return "<h2>Where the time went</h2>" + page.table(
        ["run", *PHASES, "GFLOP/s a rank", "samples/s"], rows,
        "of rank 0, thread 0; means over the epochs") if rows else ""


def origin(reports):
    keys = ["ranks", "threads", "nodes", "kernels", "train_samples", "val_samples", "test_samples"]
    rows = [[r.name, *(str(r.facts.get(key, "")) for key in keys), r.origin["program"], r.origin["commit"],
             r.origin["created"], str(r.folder)] for r in reports]
    return "<h2>Origin</h2>" + page.table(["run", *(k.replace("_", " ") for k in keys), "program", "commit", "written",
                                           "folder"], rows)


def configs(reports):
    """One config as it is; of several what differs."""
    texts = [dict(line.split("=", 1) if "=" in line else (line, "") for line in full(r)) for r in reports]
    if len(reports) == 1:
        return f"<h2>Config</h2><pre>{page.esc(reports[0].facts['config'])}</pre>"
    keys = [key for key in texts[0] if len({t.get(key) for t in texts}) > 1]
    return "<h2>What differs in the configs</h2>" + page.table(
        ["key", *(r.name for r in reports)],
        [[key.strip(), *((t.get(key) or "").strip() for t in texts)] for key in keys])


def full(r):
    """section.key = value lines."""
    section = ""
    for line in r.facts["config"].splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif "=" in line:
            yield f"{section}.{line}"


def write(reports, path):
    body = [summary(reports), curves(reports)]
    for r in reports:
        parts = [figures(r), *([mistakes(r), weights(r), activations(r)] if len(reports) == 1 else [])]
        body.append((f"<h2>{page.esc(r.name)}</h2>" if len(reports) > 1 else "") + "".join(parts))
    body += [times(reports), origin(reports), configs(reports)]
    title = ", ".join(r.name for r in reports)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(page.frame(title, body, page.SCRIPT), encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    print(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("-o", "--output", type=Path, help="default: report.html in the run's folder, or here")
    args = parser.parse_args()
    output = args.output or (Path(args.runs[0]) if len(args.runs) == 1 else Path()) / "report.html"
    try:
        reports = [Report(folder) for folder in args.runs]
        for report, name in zip(reports, plot_runs.names_of(args.runs)):
            report.name = name if len(reports) > 1 else report.name
        write(reports, output)
    except OSError as error:
        sys.exit(f"report.py: {error.filename or output}: {error.strerror or error}")


if __name__ == "__main__":
    main()

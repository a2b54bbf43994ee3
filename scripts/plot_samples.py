"""Grids of training samples, by `trainer show`: plot.py --data CONFIG, plot.py --augment CONFIG."""

import math
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np


def show(trainer, config, overrides, count, *options):
    """What `trainer show --flat` tells of the first `count` samples, or as many as there are: their shape, labels
    and values."""
    done = subprocess.run([trainer, "show", config, *overrides, "--flat", *options, "--index", f"0-{count - 1}"],
                          capture_output=True, text=True)
    fewer = re.search(r"the train set has (\d+) samples", done.stderr)
    if fewer and 0 < int(fewer[1]) < count:
        return show(trainer, config, overrides, int(fewer[1]), *options)
    if done.returncode:
        sys.exit(done.stderr.rstrip() or f"trainer show ended with exit code {done.returncode}")
    shape = re.search(r"^data .* samples of ([\dx]+)[, ]", done.stdout, re.M)[1]
    shape = [int(n) for n in shape.split("x")]
    if len(shape) != 3 or shape[0] not in (1, 3):
        sys.exit(f"{config}: its samples are no images in grey or colour, but {shape}")
    labels, values = [], []
    for part in re.split(r"^train \d+:", done.stdout, flags=re.M)[1:]:
        head, _, rest = part.partition("\n")
        labels.append(head.strip().removeprefix("label "))
        values.append(np.array(re.split(r"^\S", rest, flags=re.M)[0].split(), dtype=float))
    return shape, labels, np.stack(values)


def draw(axis, image, shape, low, high):
    image = np.moveaxis(image.reshape(shape), 0, -1)
    colour = {"cmap": "Greys", "vmin": low, "vmax": high} if shape[0] == 1 else {}
    axis.imshow(image[..., 0] if shape[0] == 1 else
                np.clip((image - low) / ((high - low) or 1), 0, 1), **colour)
    axis.set(xticks=[], yticks=[])
    plt.setp(axis.spines.values(), lw=0.6, color="#bbbbbb")


def save(figure, config, kind):
    path = Path(f"{Path(config).stem}-{kind}.png")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(path)


def draw_data(trainer, config, overrides, across=10, down=5):
    """The first samples with their labels."""
    shape, labels, values = show(trainer, config, overrides, across * down)
    down = math.ceil(len(values) / across)
    figure, axes = plt.subplots(down, across, figsize=(1.1 * across, 1.35 * down + 0.5),
                                squeeze=False, constrained_layout=True)
    for axis in axes.flat[len(values):]:
        axis.axis("off")
    for axis, label, image in zip(axes.flat, labels, values):
        draw(axis, image, shape, values.min(), values.max())
        axis.set_title(label, fontsize=8, pad=3)
    figure.suptitle(f"{Path(config).name}: the first {len(values)} training samples", fontsize=11)
    save(figure, config, "data")


def draw_augmented(trainer, config, overrides, rows=8, epochs=9):
    """A row a sample: as it is, then as each epoch sees it."""
    shape, labels, values = show(trainer, config, overrides, rows)
    rows = len(values)
    columns = [values] + [show(trainer, config, overrides, rows, "--augment", str(epoch))[2]
                          for epoch in range(1, epochs + 1)]
    figure, axes = plt.subplots(rows, len(columns), constrained_layout=True, squeeze=False,
                                figsize=(1.1 * len(columns) + 0.4, 1.1 * rows + 0.8))
    for (k, j), axis in np.ndenumerate(axes):
        draw(axis, columns[j][k], shape, values.min(), values.max())
        if k == 0:
            axis.set_title("as it is" if j == 0 else f"epoch {j}", fontsize=9)
        if j == 0:
            axis.set_ylabel(labels[k], fontsize=9)
    figure.suptitle(f"{Path(config).name}: what the network sees of the first {rows} samples",
                    fontsize=11)
    save(figure, config, "augment")

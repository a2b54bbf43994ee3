"""What a net has learned from images, for plot.py: the first layer's weights as pictures, and what
the layers make of one sample, computed with numpy from a checkpoint."""

import math
import re

import h5py
import matplotlib.pyplot as plt
import numpy as np

GELU = math.sqrt(0.5)
ACTIVATIONS = {
    "relu": lambda z: np.maximum(z, 0),
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "gelu": lambda z: z * 0.5 * (1 + np.vectorize(math.erf)(z * GELU)),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "softplus": lambda z: np.logaddexp(z, 0),
}


class Net:
    """The layers and parameters of a checkpoint."""

    def __init__(self, path):
        with h5py.File(path, "r") as file:
            model, data = file["model"], file["data"].attrs
            self.words = model.attrs["layers"].split()
            self.shape = [int(n) for n in model.attrs["input_shape"]]
            self.parameters = {name: values[()] for name, values in model.items()}
            self.unit = bool(data["bytes"]) and data["normalize"] != "none"
            self.mean, self.std = np.array(data["mean"]), np.array(data["std"])

    def tensors(self, layer):
        return self.parameters[f"{layer}.weight"], self.parameters[f"{layer}.bias"]

    def normalised(self, sample):
        """A sample of the data as the first layer gets it, [channels, rows, columns]."""
        x = sample.reshape(self.shape).astype(float) / (255 if self.unit else 1)
        return (x - self.mean[0]) / self.std[0] if len(self.mean) == 1 else x

    def outputs(self, x):
        """What each layer makes of x: [(its word with the activation behind it, values)]."""
        made = [("input", x)]
        for layer, word in enumerate(self.words):
            x = self.apply(layer, word, x)
            name = word.partition(":")[0]
            if name in ACTIVATIONS and layer > 0:
                made[-1] = (f"{made[-1][0]} {word}", x)
            elif name not in ("dropout", "flatten"):
                made.append((f"{layer} {word}", x))
        return made

    def apply(self, layer, word, x):
        name, _, text = word.partition(":")
        if name in ACTIVATIONS:
            return ACTIVATIONS[name](x)
        if name == "conv":
            weight, bias = self.tensors(layer)
            taps = windows(x, weight.shape[-1], text, 1)
            return np.einsum("cyxij,ocij->oyx", taps, weight) + bias[:, None, None]
        if name in ("maxpool", "avgpool"):
            size = int(re.match(r"\d+", text)[0])
            taps = windows(x, size, text, size)
            return taps.max(axis=(3, 4)) if name == "maxpool" else taps.mean(axis=(3, 4))
        if name == "layernorm":
            weight, bias = self.tensors(layer)
            z = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
            return z * weight.reshape(x.shape) + bias.reshape(x.shape)
        if name == "dense":
            weight, bias = self.tensors(layer)
            return weight @ x.ravel() + bias
        return x.ravel() if name == "flatten" else x


def windows(x, size, text, stride):
    """The windows of a layer on x [C, H, W] -> [C, rows, columns, size, size]. text: the layer's
    argument; stride: where it has none."""
    found = {mark: int(n) for mark, n in re.findall(r"([/+])(\d+)", text)}
    pad, step = found.get("+", 0), found.get("/", stride)
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::step, ::step]


def as_sample(image, shape):
    """An image of a file with its channels first, as the model has it."""
    last = image.ndim == 3 and image.shape != tuple(shape)
    return np.moveaxis(image, -1, 0) if last else image


# ---- pictures ----

def show(axis, values, most):
    """One channel [rows, columns] from -most (black) to most (white), or three colours of one."""
    if values.ndim == 3:
        return axis.imshow(0.5 + values / (2 * most))
    return axis.imshow(values, cmap="gray", vmin=-most, vmax=most)


def first_weights(net):
    """The first layer with weights, its word, and they as pictures [n, rows, columns(, 3)]; None
    where they have no place in an image."""
    layer = next(k for k, word in enumerate(net.words) if word.startswith(("conv", "dense")))
    word, (weight, _) = net.words[layer], net.tensors(layer)
    if word.startswith("dense"):
        if weight.shape[1] != math.prod(net.shape):
            return layer, word, None
        weight = weight.reshape(-1, *net.shape)
    return layer, word, (np.moveaxis(weight, 1, -1) if weight.shape[1] == 3
                         else weight.mean(axis=1))


def draw_kernels(run, net, most_shown=64):
    layer, word, pictures = first_weights(net)
    if pictures is None:
        return
    n = min(len(pictures), most_shown)
    across = min(n, 8)
    down = math.ceil(n / across)
    figure, axes = plt.subplots(down, across, figsize=(max(across + 1.2, 5), max(down + 1.2, 3)),
                                squeeze=False, constrained_layout=True)
    most = np.abs(pictures[:n]).max() or 1
    for k, axis in enumerate(axes.flat):
        axis.axis("off")
        if k < n:
            map_ = show(axis, pictures[k], most)
            axis.set_title(k, fontsize=7, pad=2)
    if pictures.ndim == 3:
        channels = net.tensors(layer)[0].shape[1] if word.startswith("conv") else net.shape[0]
        figure.colorbar(map_, ax=axes, shrink=0.8,
                        label="weight" + ", mean of the channels" * (channels > 1))
    what = "kernels" if word.startswith("conv") else "units"
    first = f"first {n} " * (n < len(pictures))
    figure.suptitle(f"{run.name}: the {first}{what} of layer {layer}, {word}, epoch {run.epoch}",
                    fontsize=10)
    run.save(figure, "kernels")


def draw_channels(figure, row, values, across):
    for k in range(min(len(values), across)):
        axis = figure.add_subplot(row[k])
        axis.set(xticks=[], yticks=[])
        plt.setp(axis.spines.values(), lw=0.4, color="#bbbbbb")
        axis.imshow(values[k], cmap="Greys", vmin=min(values.min(), 0), vmax=values.max() or 1)


def draw_strip(figure, row, values):
    axis = figure.add_subplot(row[:])
    most = np.abs(values).max() or 1
    axis.imshow(values[None, :], cmap="PuOr", vmin=-most, vmax=most, aspect="auto",
                interpolation="nearest")
    axis.set(xticks=[], yticks=[])


def draw_outputs(run, figure, row, values):
    axis = figure.add_subplot(row[:])
    axis.bar(range(len(values)), values, color="#08306b")
    names = run.classes if len(run.classes) == len(values) else range(len(values))
    slanted = max(len(str(name)) for name in names) > 3
    axis.set_xticks(range(len(values)), names, rotation=30 if slanted else 0, fontsize=7,
                    ha="right" if slanted else "center")
    axis.axhline(0, color="black", lw=0.6)
    axis.tick_params(labelsize=7)


def draw_maps(run, net, images, k=0, across=12):
    """Row by row what layers make of test image k: channels as pictures, flat ones as a strip."""
    made = net.outputs(net.normalised(as_sample(images[k], net.shape)))
    figure = plt.figure(figsize=(across * 0.8, 1.05 * len(made) + 0.8), constrained_layout=True)
    grid = figure.add_gridspec(len(made), across + 2)
    for r, (word, values) in enumerate(made):
        label, row = figure.add_subplot(grid[r, :2]), grid[r, 2:].subgridspec(1, across)
        label.axis("off")
        size = " x ".join(map(str, values.shape))
        label.text(0, 0.5, f"{word}\n{size}", fontsize=7, va="center")
        if r == len(made) - 1:
            draw_outputs(run, figure, row, values)
        elif values.ndim == 3:
            draw_channels(figure, row, values, across)
        else:
            draw_strip(figure, row, values)
    more = any(values.ndim == 3 and len(values) > across for _, values in made)
    figure.suptitle(f"{run.name}: what the layers make of test image {k}, epoch {run.epoch}"
                    f"{f'; the first {across} channels' * more}", fontsize=10)
    run.save(figure, "maps")


def draw(run, images):
    """images: those of the test set as they are in the file, or None."""
    net = Net(run.checkpoint)
    if len(net.shape) != 3 or run.linear:
        return
    draw_kernels(run, net)
    if images is not None:
        draw_maps(run, net, images)

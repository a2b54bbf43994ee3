"""A trained network as its checkpoint has it: layers, tensors, and what becomes of the input."""

from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from convertlib import ConvertError
from inspectlib import files

ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "leaky_relu", "softplus")


@dataclass
class Layer:
    """kind: dense, conv, maxpool, avgpool, flatten, dropout, layernorm or an activation. inputs, outputs:
    shapes of a sample, [C, H, W] or [F]. window: (K, stride, padding) of conv and pools."""

    kind: str
    inputs: list
    outputs: list
    weight: np.ndarray = None
    bias: np.ndarray = None
    window: tuple = None
    names: tuple = ()


@dataclass
class Network:
    path: Path
    layers: list
    shape: list  # of a sample as the file has it: [C, H, W] or [F]
    divisor: float  # of the raw values: 255, or 1
    mean: np.ndarray  # subtracted behind that, one or one a column; empty: none
    std: np.ndarray  # the divisor then
    loss: str
    classes: list
    columns: list = field(default_factory=list)

    @property
    def features(self):
        return int(np.prod(self.shape))

    @property
    def tensors(self):
        """{name: values}, as torch.nn.Sequential's state_dict has them."""
        return {name: value for layer in self.layers
                for name, value in zip(layer.names, (layer.weight, layer.bias))}

    def facts(self):
        """What a file that holds only tensors is to say beside them."""
        return {"layers": " ".join(str(v) for v in self.text), "input_shape": self.shape, "loss": self.loss,
                "classes": self.classes, "columns": self.columns, "divisor": self.divisor}


def strings(values):
    return [v.decode() if isinstance(v, bytes) else str(v) for v in np.atleast_1d(values)]


def find(name):
    """A run's best checkpoint, else its last one; or the file itself."""
    path = Path(name)
    if not path.is_dir():
        return path
    for which in ("best", "last"):
        if (path / "checkpoints" / f"{which}.h5").exists():
            return path / "checkpoints" / f"{which}.h5"
    raise ConvertError(f"{path}: no checkpoint in it")


def window(argument):
    """"5/2+1" -> (5, 2, 1); the stride of a pool is its size where none is given."""
    size, _, padding = argument.partition("+")
    size, _, stride = size.partition("/")
    return int(size), int(stride or 0), int(padding or 0)


def slide(shape, K, S, P):
    return [(n + 2 * P - K) // S + 1 for n in shape[1:]]


def add_layer(word, index, shape, model):
    """The layer that a word of model.layers makes, on samples of that shape."""
    name, _, argument = word.partition(":")
    names = tuple(f"{index}.{part}" for part in ("weight", "bias"))
    if name == "dense":
        return Layer(name, shape, [int(argument)], *(model[n] for n in names), names=names)
    if name == "conv":
        outputs, _, rest = argument.partition("@")
        K, S, P = window(rest)
        S = S or 1
        return Layer(name, shape, [int(outputs), *slide(shape, K, S, P)], *(model[n] for n in names), (K, S, P),
                     names)
    if name in ("maxpool", "avgpool"):
        K, S, P = window(argument)
        return Layer(name, shape, [shape[0], *slide(shape, K, S or K, 0)], window=(K, S or K, 0))
    if name == "layernorm":
        return Layer(name, shape, shape, *(model[n] for n in names), names=names)
    if name == "flatten":
        return Layer(name, shape, [int(np.prod(shape))])
    if name in ACTIVATIONS or name == "dropout":
        return Layer(name, shape, shape)
    raise ConvertError(f"layer {word}: this script does not know it")


def load(name):
    path = find(name)
    try:
        files.warn_if_edited(path)
    except files.FileError as error:
        raise ConvertError(str(error)) from None
    try:
        with h5py.File(path, "r") as file:
            group, data = file["model"], file["data"].attrs
            model = {key: group[key][()] for key in group}
            text = strings(group.attrs["layers"])[0].split()
            shape = [int(v) for v in group.attrs["input_shape"]]
            loss = strings(group.attrs["loss"])[0]
            classes, columns = strings(group.attrs["classes"]), strings(group.attrs["columns"])
            unit = strings(data["normalize"])[0] != "none"
            divisor = 255.0 if data["bytes"] and unit else 1.0
            mean, std = np.atleast_1d(data["mean"]), np.atleast_1d(data["std"])
    except (OSError, KeyError, ValueError) as error:
        raise ConvertError(f"{path}: is no checkpoint that can be read: {error}") from None
    for key, value in model.items():
        if not np.isfinite(value).all():
            raise ConvertError(f"{path}: {key} has values that are no numbers: take an earlier checkpoint")
    kinds = [word.split(":")[0] for word in text]
    images = "flatten" in kinds[:kinds.index("dense")]  # until there; else samples are values in a row
    layers, at = [], shape if images else [int(np.prod(shape))]
    for index, word in enumerate(text):
        layers.append(add_layer(word, index, at, model))
        at = layers[-1].outputs
    network = Network(path, layers, shape, divisor, mean.astype(float), std.astype(float), loss, classes, columns)
    network.text = text
    return network


def scaled(network, raw):
    """The first layer's input, float32 [n, ...], of raw samples."""
    x = raw.reshape(len(raw), -1).astype(np.float32) / np.float32(network.divisor)
    if len(network.mean):
        x = (x - network.mean.astype(np.float32)) * (1 / network.std).astype(np.float32)
    return x.reshape(len(raw), *network.layers[0].inputs)

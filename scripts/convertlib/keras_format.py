"""Keras 3, channels last as its users have them: the whole network, normalisation included; and back."""

import importlib.util
import os

import numpy as np

from convertlib import ConvertError

FROM_CHW = [1, 2, 0]
SAME = ("InputLayer", "Rescaling", "Normalization", "Reshape", "Permute", "ZeroPadding2D")  # no layer of trainer's
COUNTED = ("Activation", "ReLU", "LeakyReLU", "Softmax", "Dropout", "MaxPooling2D", "AveragePooling2D")


def keras():
    if "KERAS_BACKEND" not in os.environ:
        found = [name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)]
        os.environ.update({"KERAS_BACKEND": found[0]} if found else {})
    try:
        import keras as library
        return library
    except ImportError as error:
        raise ConvertError("this format needs the package keras, and tensorflow, jax or torch for it to run on "
                           f"({error})") from None


def last(values, shape):
    """Values of a sample [C, H, W], in the order of [H, W, C]."""
    return values.reshape(shape).transpose(FROM_CHW) if len(shape) == 3 else values


def layers_of(library, layer):
    """The layers of Keras that do as one of ours does, and the weights of the last of them."""
    kinds = library.layers
    if layer.kind == "dense":
        return [kinds.Dense(layer.outputs[0])], [layer.weight.T, layer.bias]
    if layer.kind == "conv":
        K, S, P = layer.window
        return [*([kinds.ZeroPadding2D(P)] if P else []), kinds.Conv2D(layer.outputs[0], K, S)], \
            [layer.weight.transpose(2, 3, 1, 0), layer.bias]
    if layer.kind == "layernorm":
        axes = list(range(1, len(layer.inputs) + 1))
        return [kinds.LayerNormalization(axis=axes, epsilon=1e-5)], \
            [last(v, layer.inputs) for v in (layer.weight, layer.bias)]
    if layer.kind in ("maxpool", "avgpool"):
        kind = kinds.MaxPooling2D if layer.kind == "maxpool" else kinds.AveragePooling2D
        return [kind(*layer.window[:2])], []
    if layer.kind == "flatten":
        return [*([kinds.Permute((3, 1, 2))] if len(layer.inputs) == 3 else []), kinds.Flatten()], []
    if layer.kind == "dropout":
        return [kinds.Dropout(0)], []
    if layer.kind == "leaky_relu":
        return [kinds.LeakyReLU(negative_slope=0.01)], []
    return [kinds.Activation(layer.kind)], []


def to_keras(network, path):
    library = keras()
    kinds, inputs = library.layers, network.layers[0].inputs
    shape = [inputs[k] for k in FROM_CHW] if len(inputs) == 3 else inputs
    layers = [kinds.Input(shape), kinds.Reshape((network.features,)), kinds.Rescaling(1 / network.divisor)]
    if len(network.mean):
        mean, std = (last(v, inputs).reshape(-1) if len(v) == network.features else v
                     for v in (network.mean, network.std))
        layers.append(kinds.Normalization(axis=-1 if len(mean) > 1 else None, mean=mean if len(mean) > 1 else mean[0],
                                          variance=std ** 2 if len(std) > 1 else std[0] ** 2))
    layers.append(kinds.Reshape(shape))
    weights = []
    for layer in network.layers:
        made, values = layers_of(library, layer)
        layers += made
        weights += [(made[-1], values)] if values else []
    model = library.Sequential(layers)
    for layer, values in weights:
        layer.set_weights(values)
    whole = path.with_suffix(".keras")  # the one name that Keras writes under
    model.save(whole)
    os.replace(whole, path)


def activates(layer):
    return getattr(getattr(layer, "activation", None), "__name__", "linear") != "linear"


def from_keras(path):
    """The tensors of a model whose layers stand in a row, named by where they stand in model.layers."""
    library = keras()
    try:
        model = library.saving.load_model(os.fspath(path), compile=False)
    except Exception as error:  # what Keras makes of a file that is none of its own
        raise ConvertError(f"{path}: no model of Keras' (.keras): {str(error).splitlines()[0]}") from None
    found, at, images, before = {}, 0, None, None
    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "Flatten":
            shape = layer.input.shape[1:]
            turned = getattr(before, "dims", None) == (3, 1, 2)
            images = shape if len(shape) == 3 and not turned else None
            at += at > 0  # before the first layer of trainer's it isn't counted
        elif kind in ("Dense", "Conv2D", "LayerNormalization"):
            weight, *rest = layer.get_weights() or [None]
            if weight is None or kind == "LayerNormalization" and not rest:
                raise ConvertError(f"{path}: layer {layer.name} has no scale or centre, but trainer's has both")
            bias = rest[0] if rest else np.zeros(weight.shape[-1], "f4")  # use_bias=False
            if kind == "Dense" and images:
                weight = weight.reshape(*images, -1).transpose(2, 0, 1, 3).reshape(weight.shape)
            images = None if kind == "Dense" else images
            if kind == "LayerNormalization" and weight.ndim == 3:
                weight, bias = (v.transpose(2, 0, 1) for v in (weight, bias))
            found[f"{at}.weight"] = weight.T if kind == "Dense" else \
                weight.transpose(3, 2, 0, 1) if kind == "Conv2D" else weight
            found[f"{at}.bias"] = bias
            at += 1 + activates(layer)
        elif kind in COUNTED:
            at += 1
        elif kind not in SAME:
            raise ConvertError(f"{path}: layer {layer.name} is a {kind}, which trainer has not")
        before = layer
    return {name: np.ascontiguousarray(value) for name, value in found.items()}

"""PyTorch: the whole network as TorchScript, normalisation included; and a state_dict back."""

from convertlib import ConvertError


def torch():
    try:
        import torch as library
        return library
    except ImportError:
        raise ConvertError("this format needs PyTorch: install torch, or python3-torch") from None


def module_of(nn, layer):
    kinds = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU, "leaky_relu": nn.LeakyReLU,
             "softplus": nn.Softplus, "flatten": nn.Flatten, "dropout": nn.Dropout}
    if layer.kind == "dense":
        return nn.Linear(layer.inputs[0], layer.outputs[0])
    if layer.kind == "conv":
        K, S, P = layer.window
        return nn.Conv2d(layer.inputs[0], layer.outputs[0], K, S, P)
    if layer.kind == "layernorm":
        return nn.LayerNorm(layer.inputs)
    if layer.kind in ("maxpool", "avgpool"):
        return (nn.MaxPool2d if layer.kind == "maxpool" else nn.AvgPool2d)(*layer.window[:2])
    return kinds[layer.kind]()


def module(network):
    """nn.Module of raw samples [n, C, H, W] or [n, F], or [n, features] of images."""
    library = torch()
    nn = library.nn

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.shape = [-1, *network.layers[0].inputs]
            self.divisor = network.divisor
            mean, std = (network.mean, network.std) if len(network.mean) else ([0.0], [1.0])
            self.register_buffer("mean", library.tensor(mean, dtype=library.float32))
            self.register_buffer("std", library.tensor(std, dtype=library.float32))
            self.layers = nn.Sequential(*(module_of(nn, layer) for layer in network.layers))

        def forward(self, x):
            x = (x.float().flatten(1) / self.divisor - self.mean) / self.std
            return self.layers(x.reshape(self.shape))

    whole = Whole().eval()
    whole.layers.load_state_dict({name: library.from_numpy(value.reshape(value.shape).copy())
                                  for name, value in network.tensors.items()})
    return whole


def to_torch(network, path):
    library = torch()
    example = library.zeros(2, *network.layers[0].inputs)
    library.jit.trace(module(network), example).save(str(path))


def from_torch(path):
    """The tensors of a state_dict, or of what to_torch has written."""
    library = torch()
    try:
        try:
            state = library.jit.load(str(path)).state_dict()
        except RuntimeError:
            state = library.load(str(path), map_location="cpu", weights_only=True)
    except Exception as error:  # what PyTorch makes of a file that is none of its own
        raise ConvertError(f"{path}: no state_dict of PyTorch's: {str(error).splitlines()[0]}") from None
    if isinstance(state, dict):
        state = state.get("state_dict", state)
    if not isinstance(state, dict) or not all(isinstance(v, library.Tensor) for v in state.values()):
        raise ConvertError(f"{path}: is no state_dict, names with tensors: save that of the module alone")
    return {name.removeprefix("layers."): value.detach().to(library.float32).numpy()
            for name, value in state.items() if name not in ("mean", "std")}

"""ONNX, opset 17: a graph from raw samples to logits or values."""

import numpy as np

from convertlib import ConvertError

SIMPLE = {"relu": ("Relu", {}), "tanh": ("Tanh", {}), "sigmoid": ("Sigmoid", {}), "softplus": ("Softplus", {}),
          "leaky_relu": ("LeakyRelu", {"alpha": 0.01}), "flatten": ("Flatten", {"axis": 1}),
          "dropout": ("Identity", {})}


class Graph:
    def __init__(self, helper, numpy_helper):
        self.helper, self.numpy_helper = helper, numpy_helper
        self.nodes, self.constants, self.last = [], [], "input"

    def constant(self, name, value):
        self.constants.append(self.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind, *more, source=None, **attributes):
        out = f"v{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(kind, [source or self.last, *more], [out], **attributes))
        self.last = out
        return out

    def scalar(self, value):
        return self.constant(f"c{len(self.constants)}", np.float32(value))


def add_layer(g, layer):
    names = [g.constant(name, value.astype("f4")) for name, value in zip(layer.names, (layer.weight, layer.bias))]
    if layer.kind == "dense":
        g.add("Gemm", *names, transB=1)
    elif layer.kind == "conv":
        K, S, P = layer.window
        g.add("Conv", *names, kernel_shape=[K, K], strides=[S, S], pads=[P] * 4)
    elif layer.kind in ("maxpool", "avgpool"):
        K, S, _ = layer.window
        g.add("MaxPool" if layer.kind == "maxpool" else "AveragePool", kernel_shape=[K, K], strides=[S, S])
    elif layer.kind == "layernorm":
        g.add("LayerNormalization", *names, axis=1, epsilon=1e-5)
    elif layer.kind == "gelu":  # z (1 + erf(z / sqrt 2)) / 2
        z = g.last
        g.add("Mul", g.scalar(np.sqrt(0.5)))
        g.add("Erf")
        g.add("Add", g.scalar(1))
        g.add("Mul", g.scalar(0.5))
        g.add("Mul", z)
    else:
        kind, attributes = SIMPLE[layer.kind]
        g.add(kind, **attributes)


def to_onnx(network, path):
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise ConvertError("this format needs the package onnx: pip install onnx") from None
    g = Graph(helper, numpy_helper)
    inputs = network.layers[0].inputs
    g.add("Flatten", axis=1)
    g.add("Div", g.scalar(network.divisor))
    if len(network.mean):
        g.add("Sub", g.constant("mean", network.mean.astype("f4")))
        g.add("Div", g.constant("std", network.std.astype("f4")))
    g.add("Reshape", g.constant("shape", np.array([-1, *inputs], "i8")))
    for layer in network.layers:
        add_layer(g, layer)
    outputs = network.layers[-1].outputs
    graph = helper.make_graph(
        g.nodes, "network", [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", *inputs])],
        [helper.make_tensor_value_info(g.last, TensorProto.FLOAT, ["n", *outputs])], g.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="trainer")
    model.ir_version = 8
    for key, value in network.facts().items():
        helper.set_model_props(model, {**{p.key: p.value for p in model.metadata_props}, key: str(value)})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())

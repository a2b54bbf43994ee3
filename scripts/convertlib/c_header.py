"""One C header that predicts a sample without any library but libm: the sums in the order of the trainer's
kernels, each term by fmaf, so that dense, conv, pools, relu and leaky_relu give the same bits."""

import re

import numpy as np

from convertlib import ConvertError

HEAD = """/* {what}
 *
 *     void {name}_predict(const float *sample, float *out);
 *
 * sample: {features} values as the data has them{order}; out: {outputs} {kind}. Written by scripts/convert.py;
 * needs C99, and FMA in hardware to be fast (gcc -O2 -march=native -ffp-contract=off). */
#ifndef {guard}_H
#define {guard}_H

#include <math.h>

"""

BODY = {
    "dense": """    for (int o = 0; o < {O}; o++) {{
        float sum = {n}_bias[o];
        for (int i = 0; i < {I}; i++) {{
            sum = fmaf({n}_weight[o * {I} + i], x[i], sum);
        }}
        y[o] = sum;
    }}
""",
    "conv": """    for (int o = 0; o < {O}; o++) {{
        for (int r = 0; r < {OH}; r++) {{
            for (int s = 0; s < {OW}; s++) {{
                float sum = {n}_bias[o];
                for (int c = 0; c < {I}; c++) {{
                    for (int u = 0; u < {K}; u++) {{
                        for (int v = 0; v < {K}; v++) {{
                            int h = r * {S} + u - {P}, w = s * {S} + v - {P};
                            float in = h >= 0 && h < {H} && w >= 0 && w < {W} ? x[(c * {H} + h) * {W} + w] : 0;
                            sum = fmaf({n}_weight[((o * {I} + c) * {K} + u) * {K} + v], in, sum);
                        }}
                    }}
                }}
                y[(o * {OH} + r) * {OW} + s] = sum;
            }}
        }}
    }}
""",
    "maxpool": """    for (int o = 0; o < {O}; o++) {{
        for (int r = 0; r < {OH}; r++) {{
            for (int s = 0; s < {OW}; s++) {{
                float best = x[(o * {H} + r * {S}) * {W} + s * {S}];
                for (int u = 0; u < {K}; u++) {{
                    for (int v = 0; v < {K}; v++) {{
                        float in = x[(o * {H} + r * {S} + u) * {W} + s * {S} + v];
                        best = in > best ? in : best;
                    }}
                }}
                y[(o * {OH} + r) * {OW} + s] = best;
            }}
        }}
    }}
""",
    "avgpool": """    for (int o = 0; o < {O}; o++) {{
        for (int r = 0; r < {OH}; r++) {{
            for (int s = 0; s < {OW}; s++) {{
                float sum = 0;
                for (int u = 0; u < {K}; u++) {{
                    for (int v = 0; v < {K}; v++) {{
                        sum += x[(o * {H} + r * {S} + u) * {W} + s * {S} + v];
                    }}
                }}
                y[(o * {OH} + r) * {OW} + s] = sum / {KK};
            }}
        }}
    }}
""",
    "layernorm": """    double mean = 0, variance = 0;
    for (int i = 0; i < {F}; i++) {{
        mean += x[i] / (double){F};
    }}
    for (int i = 0; i < {F}; i++) {{
        variance += (x[i] - mean) * (x[i] - mean) / {F};
    }}
    for (int i = 0; i < {F}; i++) {{
        y[i] = (float)((x[i] - mean) / sqrt(variance + 1e-5)) * {n}_weight[i] + {n}_bias[i];
    }}
""",
}
EACH = {"relu": "x[i] > 0 ? x[i] : 0", "leaky_relu": "x[i] > 0 ? x[i] : x[i] * 0.01f", "tanh": "tanhf(x[i])",
        "sigmoid": "1 / (1 + expf(-x[i]))", "softplus": "x[i] > 20 ? x[i] : log1pf(expf(x[i]))",
        "gelu": "x[i] * 0.5f * (1 + erff(x[i] * 0.70710678f))", "flatten": "x[i]", "dropout": "x[i]"}


def array(name, values):
    texts = [float(v).hex() + "f" for v in np.asarray(values, "f4").ravel()]
    lines = ["    " + ", ".join(texts[k:k + 6]) for k in range(0, len(texts), 6)]
    return f"static const float {name}[{len(texts)}] = {{\n" + ",\n".join(lines) + "};\n\n"


def size(shape):
    return int(np.prod(shape))


def function(prefix, index, layer):
    name = f"{prefix}_{index}"
    spatial = len(layer.inputs) == 3
    about = {"n": name, "O": layer.outputs[0], "I": layer.inputs[0], "F": size(layer.inputs)}
    if spatial and len(layer.outputs) == 3:
        about.update(H=layer.inputs[1], W=layer.inputs[2], OH=layer.outputs[1], OW=layer.outputs[2])
    if layer.window:
        K, S, P = layer.window
        about.update(K=K, S=S, P=P, KK=K * K)
    body = BODY[layer.kind].format(**about) if layer.kind in BODY else \
        f"    for (int i = 0; i < {size(layer.inputs)}; i++) {{\n        y[i] = {EACH[layer.kind]};\n    }}\n"
    return f"/* {layer.kind}: {layer.inputs} -> {layer.outputs} */\n" \
        f"static void {name}(const float *x, float *y) {{\n{body}}}\n\n"


def to_c(network, path):
    prefix = re.sub(r"\W", "_", path.stem)
    if not re.match(r"[A-Za-z]", prefix):
        raise ConvertError(f"{path.name}: its name begins the names in it: begin with a letter")
    largest = max(size(layer.outputs) for layer in network.layers)
    largest = max(largest, network.features)
    classes = network.loss in ("cross_entropy", "bce")
    text = HEAD.format(what=f"The network of {network.path.name}: {' '.join(network.text)}", name=prefix,
                       features=network.features, guard=prefix.upper(), outputs=size(network.layers[-1].outputs),
                       order=", channels first" if len(network.shape) == 3 else "",
                       kind="logits" if classes else "values")
    for index, layer in enumerate(network.layers):
        for part, value in zip(("weight", "bias"), (layer.weight, layer.bias)):
            if value is not None:
                text += array(f"{prefix}_{index}_{part}", value)
    if len(network.mean):
        text += array(f"{prefix}_mean", network.mean)
        text += array(f"{prefix}_inverse_std", 1 / network.std)
    text += "".join(function(prefix, k, layer) for k, layer in enumerate(network.layers))
    column = "i" if len(network.mean) > 1 else "0"
    scale = f"        v = (v - {prefix}_mean[{column}]) * {prefix}_inverse_std[{column}];\n" \
        if len(network.mean) else ""
    calls = "".join(f"    {prefix}_{k}({'ab'[k % 2]}, {'ba'[k % 2]});\n" for k in range(len(network.layers)))
    end = "ab"[len(network.layers) % 2]
    text += f"""static void {prefix}_predict(const float *sample, float *out) {{
    static float a[{largest}], b[{largest}];
    for (int i = 0; i < {network.features}; i++) {{
        float v = sample[i]{f' / {network.divisor:g}.0f' if network.divisor != 1 else ''};
{scale}        a[i] = v;
    }}
{calls}    for (int o = 0; o < {size(network.layers[-1].outputs)}; o++) {{
        out[o] = {end}[o];
    }}
}}

#endif
"""
    path.write_text(text)

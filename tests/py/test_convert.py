"""scripts/convert.py: networks in other programs give the answers that they give here."""

import csv
import importlib.util
import json
import shutil
import struct
import subprocess
import sys
import warnings

import h5py
import numpy as np
import pytest

from helpers import REPO, Lab, assert_same_bits

NETS = {  # name: config, and whether the C header gives the same bits
    "mlp": (dict(model__layers="dense:20 tanh layernorm dropout:0.3 dense:12 gelu", data__normalize="standardize"), 0),
    "cnn": (dict(model__layers="conv:6@3+1 relu maxpool:2 conv:8@3/2 leaky_relu avgpool:2/1 dense:16 softplus"), 0),
    "pooled": (dict(model__layers="maxpool:3/2 flatten dense:9 sigmoid", data__normalize="none"), 0),
    "normed": (dict(model__layers="layernorm dense:9 relu"), 0),  # over images, without conv
    "regression": (dict(model__layers="dense:16 relu dense:8 leaky_relu", loss__name="mse", data__dir=None,
                        data__train="table.csv", data__test="table.csv", data__normalize="standardize",
                        optimizer__lr=0.01), 1),
    "linear": (dict(model__layers=None, loss__name="mse", data__dir=None, data__train="table.csv",
                    data__test="table.csv", optimizer__lr=0.001), 1),
}


def the_keras(monkeypatch):
    backends = [name for name in ("torch", "jax", "tensorflow") if importlib.util.find_spec(name)]
    if not backends:
        pytest.skip("Keras has nothing to run on here")
    monkeypatch.setenv("KERAS_BACKEND", backends[0])
    return pytest.importorskip("keras", reason="Keras is not installed")


def convert(lab, *args, code=0):
    done = subprocess.run([sys.executable, REPO / "scripts/convert.py", *map(str, args)], cwd=lab.dir, text=True,
                          capture_output=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def lab(tmp_path_factory, data, arrays):
    lab = Lab(tmp_path_factory.mktemp("convert"), data)
    rng = np.random.default_rng(1)
    lab.table = rng.normal(0, 2, (80, 5)).round(3)
    y = lab.table @ rng.normal(0, 1, (5, 2)) + rng.normal(0, .1, (80, 2))
    (lab.dir / "table.csv").write_text("a,b,c,d,e,y,z\n" + "".join(
        ",".join(map(str, [*x, *t])) + "\n" for x, t in zip(lab.table, y.round(4))))
    lab.images = arrays["test"][0]
    lab.answers = {}
    for name, (config, _) in NETS.items():
        how = {"train__epochs": 2, "train__batch_size": 16, **config}
        if "table" in str(config):
            how["data__target"] = "y, z"
        lab.train(f"run.name={name}", **how)
        lab.run("predict", f"runs/{name}", "--output", f"{name}.csv").expect(0)
        with open(lab.dir / f"{name}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        columns = [c for c in rows[0] if c.endswith("_predicted") or c[0] == "p" and c[1:].isdigit()]
        lab.answers[name] = np.array([[float(row[c]) for c in columns] for row in rows])
    return lab


def samples(lab, name):
    if "table" in str(NETS[name]):
        return lab.table.astype("f4")
    images = lab.images.astype("f4")
    return images[:, None] if name in ("cnn", "pooled", "normed") else images.reshape(len(images), -1)


def check(lab, name, outputs, tolerance=1e-5):
    outputs = np.asarray(outputs, float)
    if "table" not in str(NETS[name]):
        e = np.exp(outputs - outputs.max(1, keepdims=True))
        outputs = e / e.sum(1, keepdims=True)
    np.testing.assert_allclose(outputs, lab.answers[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", NETS)
def test_onnx(lab, name):
    pytest.importorskip("onnx", reason="the package onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    convert(lab, f"runs/{name}", "--to", "onnx", "-o", f"{name}.onnx")
    session = runtime.InferenceSession(str(lab.dir / f"{name}.onnx"), providers=["CPUExecutionProvider"])
    check(lab, name, session.run(None, {"input": samples(lab, name)})[0])


@pytest.mark.parametrize("name", NETS)
def test_torch(lab, name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    convert(lab, f"runs/{name}", "--to", "torch", "-o", f"{name}.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = torch.jit.load(str(lab.dir / f"{name}.pt"))
    with torch.no_grad():
        check(lab, name, network(torch.from_numpy(samples(lab, name))).numpy())


@pytest.mark.parametrize("name", NETS)
def test_keras(lab, name, monkeypatch):
    keras = the_keras(monkeypatch)
    convert(lab, f"runs/{name}", "--to", "keras", "-o", f"{name}.keras")
    x = samples(lab, name)
    x = x.transpose(0, 2, 3, 1) if x.ndim == 4 else x
    check(lab, name, keras.saving.load_model(lab.dir / f"{name}.keras").predict(x, verbose=0))


def test_a_keras_model_comes_here(lab, monkeypatch):
    """Its layers as Keras' users write them: activations within layers, images channels last, no flatten first."""
    keras = the_keras(monkeypatch)
    kinds = keras.layers
    nets = {"a": ([kinds.Flatten(), kinds.Rescaling(1 / 255), kinds.Dense(12, activation="relu"),
                          kinds.Dropout(0.2), kinds.Dense(10)], "dense:12 relu dropout:0.2"),
            "b": ([kinds.Rescaling(1 / 255), kinds.Conv2D(4, 3, activation="relu", use_bias=False),
                          kinds.MaxPooling2D(2), kinds.LayerNormalization(axis=[1, 2, 3], epsilon=1e-5),
                          kinds.ZeroPadding2D(1), kinds.Conv2D(5, 3), kinds.LeakyReLU(negative_slope=0.01),
                          kinds.Flatten(), kinds.Dense(10, activation="softmax")],
                  "conv:4@3 relu maxpool:2 layernorm conv:5@3+1 leaky_relu flatten")}
    for name, (layers, text) in nets.items():
        shape = lab.images.shape[1:] + (() if name == "a" else (1,))
        model = keras.Sequential([kinds.Input(shape), *layers])
        for layer in model.layers:  # norms and biases as a trained model has them
            layer.set_weights([v + 0.1 * np.random.default_rng(4).normal(size=v.shape) for v in layer.get_weights()])
        model.save(lab.dir / "user.keras")
        lab.train(f"run.name=like-{name}", "run.overwrite=true", model__layers=text, train__epochs=1,
                  train__batch_size=16)
        convert(lab, "user.keras", "--from", "keras", "--like", f"runs/like-{name}", "-o", "user.h5")
        lab.run("predict", "user.h5", "--output", "user.csv").expect(0)
        with open(lab.dir / "user.csv", newline="") as file:
            ours = np.array([[float(row[f"p{k}"]) for k in range(10)] for row in csv.DictReader(file)])
        theirs = np.asarray(model.predict(lab.images.reshape(-1, *shape).astype("f4"), verbose=0))
        if name == "a":
            theirs = np.exp(theirs) / np.exp(theirs).sum(1, keepdims=True)
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-5)


def test_a_keras_model_with_other_layers_is_refused(lab, monkeypatch):
    keras = the_keras(monkeypatch)
    keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()]) \
        .save(lab.dir / "other.keras")
    assert "BatchNormalization, which trainer has not" in convert(
        lab, "other.keras", "--from", "keras", "-o", "x.h5", code=4)


DRIVER = """#include "net.h"
#include <stdio.h>
int main(void) {
    static float sample[SIZE], out[OUTPUTS];
    while (fread(sample, sizeof sample, 1, stdin) == 1) {
        net_predict(sample, out);
        fwrite(out, sizeof out, 1, stdout);
    }
    return 0;
}
"""


@pytest.mark.parametrize("name", NETS)
def test_a_c_header(lab, name, tmp_path):
    """Of relu, leaky_relu and sums the bits are the trainer's own; else libm's functions differ a little."""
    outputs = answers_of_c(lab, name, samples(lab, name), lab.answers[name].shape[1], tmp_path)
    check(lab, name, outputs)
    if NETS[name][1]:
        assert (outputs == lab.answers[name].astype("f4")).all(), "the same bits"


@pytest.mark.parametrize("layers", ["conv:6@3+1 relu conv:8@3/2 leaky_relu", "maxpool:3/2 dense:30 leaky_relu",
                                    "avgpool:2 dense:30 leaky_relu", "avgpool:3 dense:30 leaky_relu",
                                    "avgpool:6/1 dense:30 leaky_relu"])
def test_a_c_header_of_images_has_the_same_bits(lab, layers, tmp_path):
    """mse: what predict writes is the output itself, not its softmax."""
    rng = np.random.default_rng(3)
    x = rng.normal(5, 3, (60, 2, 12, 12)).astype("f4")
    y = x.reshape(60, -1) @ rng.normal(0, .1, (288, 2))
    with h5py.File(lab.dir / "images.h5", "w") as file:
        file["x"], file["y"] = x, (y - y.mean(0)).astype("f4")
        file["x"].attrs["layout"] = "NCHW"
    lab.train("run.name=images", "run.overwrite=true", data__dir=None, data__train="images.h5",
              data__test="images.h5", model__layers=layers, loss__name="mse", optimizer__lr=0.003,
              train__batch_size=16)
    lab.run("predict", "runs/images", "--output", "images.csv").expect(0)
    with open(lab.dir / "images.csv", newline="") as file:
        wanted = [[row[c] for c in row if c.endswith("_predicted")] for row in csv.DictReader(file)]
    outputs = answers_of_c(lab, "images", x, 2, tmp_path)
    assert outputs.std(0).min() > 0.01, "samples differ"
    assert (outputs == np.array(wanted, "f4")).all(), "the same bits"


def answers_of_c(lab, name, x, count, tmp_path):
    convert(lab, f"runs/{name}", "--to", "c", "-o", tmp_path / "net.h")
    driver = DRIVER.replace("SIZE", str(x[0].size)).replace("OUTPUTS", str(count))
    (tmp_path / "main.c").write_text(driver)
    subprocess.run(["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-ffp-contract=off", "-o",
                    tmp_path / "main",
                    tmp_path / "main.c", "-lm"], check=True)
    out = subprocess.run([tmp_path / "main"], input=x.tobytes(), stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(out, "f4").reshape(len(x), -1)


@pytest.mark.parametrize("kind", ["npz", "safetensors", "torch", "keras"])
def test_tensors_go_and_come_back(lab, kind, monkeypatch):
    if kind == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    if kind == "keras":
        the_keras(monkeypatch)
    convert(lab, "runs/cnn", "--to", kind, "-o", f"back.{kind}")
    convert(lab, f"back.{kind}", "--from", kind, "-o", "back.h5", "--like", "runs/cnn")
    result = lab.run("eval", "back.h5").expect(0)
    assert not result.err and result.out == lab.run("eval", "runs/cnn").out
    convert(lab, f"back.{kind}", "--from", kind, "-o", "start.h5")
    lab.train("run.name=taken", "model.init=file", "model.init_file=start.h5", "run.overwrite=true",
              "optimizer.lr=1e-9", model__layers=NETS["cnn"][0]["model__layers"], train__epochs=1)
    with h5py.File(lab.dir / "start.h5") as file:
        for name, value in lab.out("cnn").model().items():
            assert (file["model"][name][()] == value).all()
    assert "but" in convert(lab, f"back.{kind}", "--from", kind, "-o", "no.h5", "--like", "runs/mlp", code=4)
    assert not (lab.dir / "no.h5").exists()


def test_a_state_dict_comes_here(lab):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.ReLU(), torch.nn.Linear(16, 8), torch.nn.LeakyReLU(),
                              torch.nn.Linear(8, 2))
    torch.save(net.state_dict(), lab.dir / "state.pt")
    convert(lab, "state.pt", "--from", "torch", "-o", "state.h5", "--like", "runs/regression")
    with h5py.File(lab.dir / "state.h5") as file:
        assert (file["model/2.weight"][()] == net[2].weight.detach().numpy()).all()


def test_safetensors_is_what_its_library_reads(lab):
    library = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    convert(lab, "runs/mlp", "--to", "safetensors", "-o", "m.safetensors")
    found = library.load_file(lab.dir / "m.safetensors")
    for name, value in lab.out("mlp").model().items():
        assert (found[name] == value).all()
    assert "normalize.mean" in found


def test_tables_as_csv(lab):
    convert(lab, "runs/mlp", "--to", "csv", "-o", "tables")
    epochs = lab.out("mlp").table("epochs")
    with open(lab.dir / "tables/epochs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == epochs["step"].tolist()
    assert [float(row["train_loss"]) for row in rows] == epochs["train_loss"].tolist() and rows[0]["val_loss"] == ""


@pytest.mark.parametrize("args, says", [
    (["nowhere", "--to", "npz"], "nowhere"), (["table.csv", "--to", "npz"], "no checkpoint"),
    (["table.csv", "--from", "npz"], "table.csv"), (["table.csv", "--from", "safetensors"], "no safetensors"),
    (["runs/mlp/checkpoints/last.h5", "--to", "csv"], "has no tables"), (["nowhere", "--to", "csv"], "can't be read"),
    (["runs/mlp", "--to", "c", "-o", "1.h"], "letter")])
def test_refusals_are_a_line(lab, args, says):
    err = convert(lab, *args, *(["-o", "out"] if "-o" not in args else []), code=4)
    assert says in err and len(err.splitlines()) == 1
    assert not (lab.dir / "out").exists() and not [path for path in lab.dir.iterdir() if path.name[0] == "."]


def test_an_edited_checkpoint_is_exported_with_a_warning(lab):
    path = lab.dir / "edited.h5"
    shutil.copyfile(lab.out("mlp").last, path)
    with h5py.File(path, "r+") as file:
        file["model/0.bias"][0] += 1
    said = convert(lab, path, "--to", "npz", "-o", "edited.npz")
    assert "digest" in said and len(said.splitlines()) == 2
    with np.load(lab.dir / "edited.npz") as file, h5py.File(path) as edited:
        assert_same_bits({"0.bias": file["0.bias"].tobytes()}, {"0.bias": edited["model/0.bias"][()].tobytes()},
                         "edited")


def safetensors(header, data=b""):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize("kind, content, says", [
    ("npz", b"PK\x03\x04 cut off", "no npz"), ("npz", b"\x93NUMPY", "no npz"),
    ("safetensors", safetensors([1]), "no safetensors"), ("safetensors", safetensors({"a": 1}), "no safetensors"),
    ("safetensors", safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}), "outside"),
    ("safetensors", safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}), "outside")])
def test_damaged_tensors_are_refused(lab, kind, content, says):
    (lab.dir / "bad").write_bytes(content)
    err = convert(lab, "bad", "--from", kind, "-o", "out.h5", code=4)
    assert says in err and len(err.splitlines()) == 1
    assert not (lab.dir / "out.h5").exists()


@pytest.mark.parametrize("what, says", [("more", "another network"), ("nan", "no numbers"), ("large", "no numbers"),
                                        ("complex", "no real"), ("text", "no real")])
def test_tensors_that_do_not_fit_are_refused(lab, what, says):
    tensors = dict(lab.out("regression").model())
    weight = tensors["0.weight"]
    tensors |= {"more": {"9.weight": weight}, "nan": {"0.weight": weight * np.nan},
                "large": {"0.weight": np.full(weight.shape, 1e300)}, "complex": {"0.weight": weight + 1j},
                "text": {"0.weight": weight.astype(str)}}[what]
    np.savez(lab.dir / "wrong.npz", **tensors)
    err = convert(lab, "wrong.npz", "--from", "npz", "-o", "out.h5", "--like", "runs/regression", code=4)
    assert says in err and len(err.splitlines()) == 1
    assert not (lab.dir / "out.h5").exists()


def test_what_is_no_state_dict_is_refused(lab):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for content in [1, 2], {"model": {"a": torch.zeros(1)}}:
        torch.save(content, lab.dir / "no.pt")
        assert "no state_dict" in convert(lab, "no.pt", "--from", "torch", "-o", "out.h5", code=4)
    torch.save({"0.weight": torch.nn.Parameter(torch.ones(2).bfloat16())}, lab.dir / "yes.pt")
    convert(lab, "yes.pt", "--from", "torch", "-o", "yes.h5")


@pytest.mark.skipif(importlib.util.find_spec("onnx") is not None, reason="onnx is installed")
def test_a_package_that_is_not_there_is_named(lab):
    assert "pip install onnx" in convert(lab, "runs/mlp", "--to", "onnx", "-o", "x.onnx", code=4)


def test_nothing_is_changed(lab):
    before = lab.out("mlp").bits()
    convert(lab, "runs/mlp", "--to", "npz", "-o", "n.npz")
    assert_same_bits(lab.out("mlp").bits(), before, "after an export")

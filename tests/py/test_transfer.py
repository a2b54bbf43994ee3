"""model.init_partial and model.freeze: a trained model's layers in another model, some of them
left as they are."""

import h5py
import numpy as np
import pytest

from helpers import CLASSES, Lab, assert_same_bits, kernel_sets

NET = "conv:6@3 relu maxpool:2 dense:40 relu dense:20 tanh"  # tensors of 0, 4, 6 and 8
LAYERS = {"0", "4", "6", "8"}
FORCES = {"optimizer__momentum": 0.9, "optimizer__weight_decay": 0.1, "optimizer__lr": 0.02}


@pytest.fixture(scope="module")
def lab(tmp_path_factory, data):
    """One epoch of NET in runs/source."""
    lab = Lab(tmp_path_factory.mktemp("transfer"), data)
    lab.config(model__layers=NET, train__epochs=1, run__name="source", **FORCES)
    lab.run("run.ini").expect(0)
    return lab


SOURCE = "runs/source/checkpoints/last.h5"
FROM = ("model.init=file", f"model.init_file={SOURCE}")


def go(lab, name, *args, code=0, ranks=None):
    lab.run("run.ini", f"run.name={name}", *args, ranks=ranks).expect(code)
    return lab.out(name)


def slots(run):
    with h5py.File(run.last, "r") as file:
        return {f"{slot}/{name}": values[...] for slot, group in file["optimizer"].items()
                for name, values in group.items()}


# ---- freeze ----

@pytest.mark.parametrize("freeze", ["0", "0 4", "6", "8", "4, 8", "0 4 6"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_frozen_layers_stay_and_have_no_state(lab, freeze, optimizer):
    before = lab.out("source").model()
    name = f"{optimizer}{freeze}".replace(" ", "")
    run = go(lab, name, f"model.freeze={freeze}", f"optimizer.name={optimizer}", *FROM)
    frozen = set(freeze.replace(",", "").split())
    after = run.model()
    assert after.keys() == before.keys(), "checkpoints are whole"
    for tensor, values in after.items():
        same = (values == before[tensor]).all()
        assert same == (tensor[0] in frozen), tensor
    for tensor, values in slots(run).items():
        assert values.any() == (tensor.split("/")[1][0] not in frozen), tensor


@pytest.mark.parametrize("freeze", ["0", "6", "0 6", "8"])
def test_what_is_trained_has_the_gradient_it_had(lab, freeze):
    """One step: the same bits as if nothing were frozen; and the norm of the trained part."""
    step = ("train.max_steps=1", "optimizer.momentum=0", "optimizer.weight_decay=0", *FROM)
    lr, before = 0.02, lab.out("source").model()
    whole = go(lab, "step", *step, "run.overwrite=true", "run.resume=never", code=75)
    part = go(lab, f"step{freeze}".replace(" ", ""), *step, f"model.freeze={freeze}", code=75)
    square, wholes, parts = 0, whole.model(), part.model()
    for tensor, values in parts.items():
        if tensor[0] not in freeze:
            np.testing.assert_array_equal(values, wholes[tensor], err_msg=tensor)
            square += (((values.astype(float) - before[tensor]) / lr) ** 2).sum()
    norms = [run.table("steps")["grad_norm"][0] for run in (part, whole)]
    np.testing.assert_allclose(norms[0], square ** 0.5, rtol=1e-3)
    assert norms[0] < norms[1]


@pytest.mark.parametrize("freeze", ["0", "4 8"])
def test_layouts_stops_and_kernels_change_no_bit(lab, freeze):
    args = (f"model.freeze={freeze}", "optimizer.clip_norm=0.5", *FROM)
    name = f"bits{freeze[0]}"
    bits = go(lab, name, *args, "parallel.threads=1").bits()
    for ranks, threads in ((1, 2), (2, 1), (3, 2)):
        got = go(lab, f"{name}r{ranks}", *args, f"parallel.threads={threads}", ranks=ranks)
        assert_same_bits(got.bits(), bits, f"{ranks} ranks x {threads} threads")
    for kernels in kernel_sets():
        got = go(lab, f"{name}{kernels}", *args, f"parallel.kernels={kernels}")
        assert_same_bits(got.bits(), bits, kernels)
    stopped = f"{name}stopped"
    go(lab, stopped, *args, "train.max_steps=4", ranks=2, code=75)
    assert_same_bits(go(lab, stopped, *args).bits(), bits, "stopped and resumed")


def test_a_resume_keeps_what_is_frozen(lab):
    go(lab, "keeps", "model.freeze=0", "train.max_steps=3", code=75)
    result = lab.run("run.ini", "run.name=keeps", "model.freeze=0 4")
    result.fails(2, "model.freeze: 0 -> 0 4")
    go(lab, "keeps", "model.freeze=0")


@pytest.mark.parametrize("freeze, mentions", [
    ("1", ["layer 1 relu has no parameters", "0 conv, 4 dense, 6 dense, 8 dense"]),
    ("0 9", ["layer 9 does not exist", "0 conv, 4 dense, 6 dense, 8 dense"]),
    ("0 4 6 8", ["nothing is left to train"]),
    ("first", ["'first'", "whole numbers"]),
    ("-1", ["'-1'", "whole numbers"]),
    ("0.5", ["'0.5'", "whole numbers"]),
])
def test_mistakes_are_one_error(lab, freeze, mentions):
    lab.run("run.ini", "run.name=wrong", f"model.freeze={freeze}", ranks=2).fails(
        2, "model.freeze", *mentions)


# ---- init_partial ----

def start_line(result):
    line, = [line for line in result.out.splitlines() if line.startswith("start ")]
    return line


@pytest.mark.parametrize("init", ["file", "torch", "he"])
def test_tensors_that_fit_come_from_the_file_and_the_others_start_fresh(lab, init):
    args = (f"model.init={init}", f"model.init_file={SOURCE}", "model.init_partial=true",
            "model.layers=" + NET.replace("dense:20 tanh", "dense:30 tanh dense:7 relu"),
            "optimizer.lr=1e-30", "train.max_steps=1")
    name = f"partial-{init}"
    result = lab.run("run.ini", f"run.name={name}", *args, ranks=2).expect(75)
    assert start_line(result).split("from ")[1] == (
        f"{SOURCE}: 0.weight 0.bias 4.weight 4.bias; new: 10.weight 10.bias; new, as the "
        "file's have other shapes: 6.weight 6.bias 8.weight 8.bias")
    got, source = lab.out(name).model(), lab.out("source").model()
    for tensor in ("0.weight", "0.bias", "4.weight", "4.bias"):
        np.testing.assert_array_equal(got[tensor], source[tensor], err_msg=tensor)
    fresh = "torch" if init == "file" else init
    as_new = go(lab, f"new-{init}", *args, "model.init_partial=false", f"model.init={fresh}",
                code=75).model()
    for tensor in ("6.weight", "6.bias", "8.weight", "8.bias", "10.weight", "10.bias"):
        np.testing.assert_allclose(got[tensor], as_new[tensor], atol=1e-28, err_msg=tensor)
    again = lab.run("run.ini", f"run.name={name}", *args, ranks=2).expect(75)
    assert "\nstart " not in again.out, "a resume takes nothing from init_file"


def test_check_says_what_the_file_gives(lab):
    result = lab.run("check", "run.ini", "run.name=new", *FROM, "model.init_partial=true")
    assert start_line(result.expect(0)).endswith(
        "0.weight 0.bias 4.weight 4.bias 6.weight 6.bias 8.weight 8.bias")


@pytest.mark.parametrize("args, code, mentions", [
    (["model.init_partial=true"], 2, ["model.init_partial", "needs model.init_file"]),
    ([*FROM, "model.layers=dense:20"], 4, [SOURCE, "/model/0.weight", "[6,1,3,3]", "[20,256]"]),
    ([*FROM, "model.layers=" + NET + " dense:9"], 4,
     [SOURCE, "/model/8.weight", f"[{CLASSES},20]", "[9,20]"]),
    ([*FROM, "model.init_partial=true", "model.layers=dense:20"], 4,
     [SOURCE, "no tensor", "dense:20"]),
    (["model.init_file=none.h5", "model.init_partial=true"], 4, ["none.h5"]),
])
def test_a_file_that_does_not_fit_is_one_error(lab, args, code, mentions):
    lab.run("run.ini", "run.name=wrong", *args, ranks=2).fails(code, *mentions)
    assert not lab.out("wrong").path.exists()

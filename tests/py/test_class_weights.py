"""data.class_weights and data.stratify: samples of rare classes count more, and are held out in
their share."""

import h5py
import numpy as np
import pytest

from helpers import Lab, assert_same_bits, write_idx

WEIGHTS = [0.5, 3, 0, 1.25]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Four classes of 12 features: 60, 30, 20 and 10 samples, mixed."""
    rng = np.random.default_rng(5)
    y = rng.permutation(np.repeat(np.arange(4), [60, 30, 20, 10])).astype(np.uint8)
    x = rng.integers(0, 256, (120, 3, 4), dtype=np.uint8)
    folder = tmp_path_factory.mktemp("weights")
    lab = Lab(folder, write_idx(folder / "data", (x, y), (x[:40], y[:40])))
    lab.x, lab.y = x, y
    lab.config(model__layers="", train__epochs=3, train__batch_size=48, optimizer__lr=0.5,
               train__shuffle="false", optimizer__momentum=0.5)
    return lab


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def follow(lab, weights, start, steps=9):
    """PyTorch's CrossEntropyLoss(weight) and SGD in double: the losses, the last parameters."""
    w, b = (start[name].astype(float) for name in ("0.weight", "0.bias"))
    x, losses, buf = lab.x.reshape(120, 12) / 255, [], [0, 0]
    for step in range(steps):
        rows = np.arange(step % 3 * 48, min(step % 3 * 48 + 48, 120))
        p, each = softmax(x[rows] @ w.T + b), np.array(weights)[lab.y[rows]]
        losses.append((each * -np.log(p[np.arange(len(rows)), lab.y[rows]])).sum() / each.sum())
        d = (p - np.eye(4)[lab.y[rows]]) * each[:, None] / each.sum()
        for k, grad in enumerate((d.T @ x[rows], d.sum(0))):
            buf[k] = 0.5 * buf[k] + grad
        w, b = w - 0.5 * buf[0], b - 0.5 * buf[1]
    return np.array(losses), w, b


def start_of(lab, *args):
    lab.run("run.ini", "run.name=start", "run.overwrite=true", "run.resume=never", "optimizer.lr=0",
            "optimizer.momentum=0",
            "train.max_steps=1", *args).expect(75)
    return lab.out("start").model()


@pytest.mark.parametrize("given, weights", [
    ("0.5 3 0, 1.25", WEIGHTS), ("balanced", 120 / 4 / np.array([60, 30, 20, 10]))])
def test_losses_and_parameters_are_pytorchs(lab, given, weights):
    name = f"run.name=as-{given.split()[0]}"
    lab.run("run.ini", name, f"data.class_weights={given}").expect(0)
    run = lab.out(name[9:])
    losses, w, b = follow(lab, weights, start_of(lab))
    np.testing.assert_allclose(run.table("steps")["loss"], losses, rtol=2e-6)
    np.testing.assert_allclose(run.model()["0.weight"], w, atol=2e-6)
    np.testing.assert_allclose(run.model()["0.bias"], b, atol=2e-6)
    sizes = [48, 48, 24]
    assert run.table("epochs")["train_loss"][0] == pytest.approx(
        np.average(run.table("steps")["loss"][:3], weights=sizes), rel=1e-12)
    accuracy = run.table("epochs")["test_accuracy"][-1]
    z = lab.x[:40].reshape(40, 12) / 255 @ w.T + b
    assert accuracy == (z.argmax(1) == lab.y[:40]).mean(), "scores count all samples alike"


def test_weights_of_one_change_little_and_no_weights_nothing(lab):
    lab.run("run.ini", "run.name=none").expect(0)
    lab.run("run.ini", "run.name=ones", "data.class_weights=1 1 1 1").expect(0)
    none, ones = lab.out("none").bits(), lab.out("ones").bits()
    assert_same_bits(ones, none, "weights of 1")


def test_bce_is_weighted_likewise(lab):
    table = lab.dir / "two.csv"
    x = lab.x.reshape(120, 12)
    yes = lab.y < 1
    table.write_text("a,b,yes\n" + "".join(f"{u[0] / 255},{u[1] / 255},{int(v)}\n"
                                           for u, v in zip(x, yes)))
    args = ("data.dir=", "data.train=two.csv", "loss.name=bce", "train.batch_size=0",
            "train.epochs=1", "optimizer.lr=0", "model.init=constant", "model.init_bias=0.25",
            "optimizer.momentum=0")
    lab.run("run.ini", "run.name=bce", "data.class_weights=2 0.25", *args).expect(0)
    each = np.where(yes, 0.25, 2)
    loss = np.log1p(np.exp(0.25)) - 0.25 * yes
    assert lab.out("bce").table("steps")["loss"][0] == pytest.approx(
        (each * loss).sum() / each.sum(), rel=1e-6)


def test_layouts_and_stops_change_no_bit(lab):
    args = ("data.class_weights=balanced", "model.layers=dense:40 relu", "train.shuffle=true",
            "parallel.block=7")
    lab.run("run.ini", "run.name=one", *args).expect(0)
    for n, (ranks, *more) in enumerate([(None, "parallel.threads=3"), (2,), (5,),
                                        (None, "parallel.kernels=portable")]):
        lab.run("run.ini", f"run.name=other{n}", *args, *more, ranks=ranks).expect(0)
        assert_same_bits(lab.out(f"other{n}").bits(), lab.out("one").bits(), f"{ranks} {more}")
    lab.run("run.ini", "run.name=stopped", *args, "train.max_steps=4", ranks=2).expect(75)
    lab.run("run.ini", "run.name=stopped", *args).expect(0)
    assert_same_bits(lab.out("stopped").bits(), lab.out("one").bits(), "stopped")


def test_a_batch_without_weight_changes_nothing(lab):
    """Its loss is 0, not a division by 0."""
    rows = [i for i in range(120) if lab.y[i] == 2][:16]
    write_idx(lab.dir / "zero", (np.concatenate([lab.x[rows], lab.x]),
                                 np.concatenate([lab.y[rows], lab.y])), (lab.x[:40], lab.y[:40]))
    args = ("data.dir=zero", "data.class_weights=1 1 0 1", "train.batch_size=16",
            "optimizer.momentum=0", "train.epochs=1")
    lab.run("run.ini", "run.name=zero", *args, "train.max_steps=1").expect(75)
    with h5py.File(lab.out("zero").last) as file:
        after = {name: values[...] for name, values in file["model"].items()}
    before = start_of(lab, "data.dir=zero")
    assert all((after[name] == before[name]).all() for name in before)
    assert lab.out("zero").table("steps")["loss"][0] == 0


@pytest.mark.parametrize("args, says", [
    (["data.class_weights=1 2 3"], "3 numbers for 4 classes"),
    (["data.class_weights=1 2 3 4 5"], "5 numbers for 4 classes"),
    (["data.class_weights=1 2 -3 4"], "a number from 0"),
    (["data.class_weights=1 2 nan 4"], "a number from 0"),
    (["data.class_weights=ballanced"], "none, balanced"),
    (["data.class_weights=0 0 0 0"], "all of them are 0"),
    (["data.class_weights=balanced", "loss.label_smoothing=0.1"], "label_smoothing"),
    (["data.class_weights=balanced", "loss.name=mse"], "mse"),
    (["data.stratify=true"], "needs data.validation above 0"),
    (["data.stratify=true", "data.validation=12", "loss.name=mse"], "mse"),
])
@pytest.mark.parametrize("command", ["train", "check"])
def test_what_can_not_be_is_refused_before_there_is_a_run(lab, command, args, says):
    lab.run(command, "run.ini", "run.name=bad", *args).fails(2, says)
    assert not lab.out("bad").path.exists()


def held_out(lab, name, *args, last=23):
    result = lab.run("run.ini", f"run.name={name}", "train.epochs=1", "train.batch_size=4", *args)
    result.expect(0)
    shown = lab.run("show", "run.ini", "--split", "val", "--index", f"0-{last}", "--flat",
                    *args)
    labels = [int(line.split("label")[1].split()[0].strip(":,")) for line in
              shown.expect(0).out.splitlines() if "label" in line]
    return np.bincount(labels, minlength=4).tolist()


def test_the_validation_split_has_each_class_in_its_share(lab):
    args = ("data.validation=24", "data.stratify=true")
    assert held_out(lab, "fair", *args) == [12, 6, 4, 2]
    assert held_out(lab, "seed", *args, "run.seed=7") == [12, 6, 4, 2]
    assert held_out(lab, "chance", args[0]) != [12, 6, 4, 2]
    # 11.5, 5.75, 3.83 and 1.92: the largest remainders are rounded up
    assert held_out(lab, "rest", "data.validation=23", args[1], last=22) == [11, 6, 4, 2]

"""Every model of the users' PyTorch notes: configs/*.ini gives the notes' numbers.

The rows with a given start are computed again here in double. The trainer's parameters are
float32, as PyTorch's are, so its losses wander within WANDER of the double ones on the way
(PyTorch 1.13 by 1.3e-5) and end within LOSS. NOTES are the numbers that the notes print."""

import itertools
import os
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from helpers import NAMES, REPO, Lab, assert_same_bits

LOSS, WEIGHTS, WANDER = 2e-6, 1e-5, 2e-5  # relative
PRINTED = 6e-5  # half a unit of the notes' last digit, and float32's own

# config: data, loss, lr, epochs, start, {epoch: the notes' loss}, the notes' w and b
GIVEN = {
    "linear": ("hours", "mse", 0.01, 2000, ([0.3367], 0.1288),
               {100: 412.0172, 200: 202.6555, 1000: 2.8962, 2000: 2.2405},
               ([3.00726], 69.3470)),
    "two_inputs_as_printed": ("two_inputs_as_printed", "mse", 0.01, 5000,
                              ([0.3367, 0.1288], 0.2345),
                              {100: 186.2492, 1000: 52.4427, 3000: 27.8283},
                              ([1.8086, 1.9646], 62.2669)),
    "two_inputs": ("hours_slept", "mse", 0.01, 5000, ([0.3367, 0.1288], 0.2345),
                   {100: 13.0263, 1000: 11.3965, 5000: 6.4945},
                   ([1.26944, 8.17138], 19.9875)),
    "double": ("double", "mse", 0.01, 100, ([0.0], 0.0), {1: 30.000}, None),
    "logistic": ("students", "bce", 0.1, 1000, ([0.0, 0.0], 0.0),
                 {200: 0.2347, 400: 0.1494, 600: 0.1129, 800: 0.0926, 1000: 0.0796},
                 ([0.89631, 0.67074], -5.74753)),
}
DOUBLE = {1: ("0.300", "0.100", "30.000"), 21: ("1.767", "0.559", "0.075"),
          41: ("1.816", "0.539", "0.049"), 61: ("1.827", "0.508", "0.043"),
          81: ("1.837", "0.478", "0.038")}


def table(name):
    """A CSV file's inputs [n, inputs] as float32 holds them, and its last column."""
    rows = np.genfromtxt(REPO / "configs" / "data" / f"{name}.csv", delimiter=",",
                         skip_header=1)
    return rows[:, :-1].astype(np.float32).astype(float), rows[:, -1]


def loss_and_slope(kind, z, y):
    if kind == "mse":
        return np.mean((z - y) ** 2), 2 * (z - y) / len(y)
    loss = np.mean(np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z))))
    return loss, (1 / (1 + np.exp(-z)) - y) / len(y)


def train(X, y, kind, lr, epochs, w, b, zero_grad=True):
    """Full-batch gradient descent in double: losses before each update, w and b at last."""
    w, b = np.float32(w).astype(float), float(np.float32(b))
    losses, dw, db = [], np.zeros_like(w), 0.0
    for _ in range(epochs):
        loss, slope = loss_and_slope(kind, X @ w + b, y)
        losses.append(loss)
        dw = X.T @ slope + (0 if zero_grad else dw)
        db = slope.sum() + (0 if zero_grad else db)
        w, b = w - lr * dw, b - lr * db
    return np.array(losses), w, b


def parameters(run):
    model = run.model()
    return model["0.weight"][0].astype(float), float(model["0.bias"][0])


class Notes(Lab):
    """Runs the configs; `result` is the last one's."""

    def train(self, name, *overrides, output=None, code=0, **how):
        output = output or name
        self.result = self.run(f"configs/{name}.ini", f"run.output=runs/{output}", *overrides,
                               **how).expect(code)
        return self.out(output)


@pytest.fixture
def notes(tmp_path):
    return Notes(tmp_path)


# ---- small tables ----

@pytest.mark.parametrize("name", GIVEN)
def test_given_start_gives_the_notes_curve(notes, name):
    data, kind, lr, epochs, start, printed, end = GIVEN[name]
    run = notes.train(name)
    expected, w, b = train(*table(data), kind, lr, epochs, *start)
    got = run.table("steps")["loss"]
    assert len(got) == epochs
    assert np.array_equal(got, run.table("epochs")["train_loss"])
    assert np.max(np.abs(got / expected - 1)) < WANDER
    assert abs(got[-1] / expected[-1] - 1) < LOSS
    weights, bias = parameters(run)
    np.testing.assert_allclose(weights, w, rtol=WEIGHTS)
    np.testing.assert_allclose(bias, b, rtol=WEIGHTS)
    for epoch, value in printed.items():
        assert abs(got[epoch - 1] - value) < PRINTED + 2e-6 * value, epoch
    if end:
        np.testing.assert_allclose([*weights, bias], [*end[0], end[1]], rtol=WEIGHTS,
                                   atol=PRINTED)


@pytest.mark.parametrize("name", ["linear", "two_inputs", "logistic", "logistic_1d"])
def test_three_ranks_give_the_same_bits(notes, name):
    shorter = "train.epochs=300"  # five and four rows: two of the ranks have none
    alone = notes.train(name, shorter, output="alone")
    three = notes.train(name, shorter, output="three", ranks=3)
    assert_same_bits(three.bits(), alone.bits(), "3 ranks")


def test_double_prints_the_notes_lines(notes):
    notes.train("double")
    lines = re.findall(r"^epoch (\d+)/100  loss: \d+\.\d{6}  w=(\S+), b=(\S+), loss=(\S+)$",
                       notes.result.out, re.M)
    assert [line[1:] for line in lines[:5]] == list(DOUBLE.values()), notes.result
    assert [int(line[0]) for line in lines] == [1, 21, 41, 61, 81, 100]


@pytest.mark.parametrize("name", GIVEN)
def test_the_notes_epochs_are_on_the_screen(notes, name):
    printed = GIVEN[name][5]
    notes.train(name)
    shown = dict(re.findall(r"^epoch (\d+)/\d+  loss: (\S+)", notes.result.out, re.M))
    for epoch, value in printed.items():
        assert abs(float(shown[str(epoch)]) - value) < PRINTED + 2e-6 * value, epoch


def test_two_inputs_print_their_columns(notes):
    notes.train("two_inputs", "train.epochs=10")
    assert re.search(r"w_hours=\d+\.\d{3}, w_slept=\d+\.\d{3}, b=\d+\.\d{3}, loss=\d+\.\d{3}$",
                     notes.result.out, re.M), notes.result


@pytest.mark.parametrize("name, data, lr, epochs", [("logistic_1d", "steps", 0.01, 200),
                                                    ("logistic", "students", 0.1, 1000)])
def test_random_start_goes_on_as_in_double(notes, name, data, lr, epochs):
    """The start is the trainer's own: its parameters after one step go on here in double."""
    random = ("model.init=torch", "run.seed=7", "checkpoint.every=1")
    notes.train(name, *random, "train.max_steps=1", output="one", code=75)
    w, b = parameters(notes.out("one"))
    run = notes.train(name, *random[:2])
    expected, end_w, end_b = train(*table(data), "bce", lr, epochs - 1, w, b)
    got = run.table("steps")["loss"][1:]
    assert np.max(np.abs(got / expected - 1)) < WANDER
    weights, bias = parameters(run)
    np.testing.assert_allclose([*weights, bias], [*end_w, end_b], rtol=WEIGHTS)


def test_one_input_falls_to_about_a_half(notes):
    """From starts like PyTorch's, w and b uniform in -1 ... 1, half of the runs end above
    0.51. From the config's, half the learning rate ends at 0.66, twice at 0.44."""
    run = notes.train("logistic_1d")
    loss = run.table("epochs")["train_loss"]
    assert len(loss) == 200 and (np.diff(loss) < 0).all(), notes.result
    assert abs(loss[-1] - 0.50) < 0.04


def test_random_start_of_two_inputs_ends_near_the_notes(notes):
    run = notes.train("logistic", "model.init=torch")
    loss = run.table("epochs")["train_loss"][[199, 399, 599, 799, 999]]
    printed = np.array([0.2375, 0.1504, 0.1134, 0.0929, 0.0798])
    band = [0.15, 0.09, 0.06, 0.045, 0.04]  # of 40 starts; a tenth of lr is 0.07 at the end
    assert (np.abs(loss / printed - 1) < band).all(), (loss, notes.result)


# ---- splits, scores ----

def test_validation_is_scored_on_what_was_held_out(notes):
    """Exactly one choice of 3 of 12 rows explains the losses of training and validation."""
    rng = np.random.default_rng(5)
    X = rng.normal(0, 1, 12).astype(np.float32).astype(float)[:, None]
    y = (2 * X[:, 0] + rng.normal(0, 1, 12)).astype(np.float32).astype(float)
    np.savetxt(notes.dir / "rows.csv", np.column_stack([X, y]), "%.9g", ",", header="x,y",
               comments="")
    run = notes.train("linear", "data.train=rows.csv", "data.target=y",
                      "data.validation=0.25", "train.epochs=50", "optimizer.lr=0.1",
                      ranks=3)
    rows = run.table("epochs")
    fitting = []
    for held in itertools.combinations(range(12), 3):
        kept = np.setdiff1d(np.arange(12), held)
        losses, w, b = train(X[kept], y[kept], "mse", 0.1, 50, [0.3367], 0.1288)
        if np.allclose(rows["train_loss"], losses, rtol=WANDER, atol=0):
            fitting.append((list(held), w, b))
    assert len(fitting) == 1
    held, w, b = fitting[0]
    error = X[held] @ w + b - y[held]
    r2 = 1 - np.sum(error ** 2) / np.sum((y[held] - y[held].mean()) ** 2)
    last = rows[-1]
    np.testing.assert_allclose([last["val_loss"], last["val_r2"], last["val_mae"]],
                               [np.mean(error ** 2), r2, np.mean(np.abs(error))], rtol=WANDER)
    assert np.isnan(rows["test_loss"]).all() and np.isnan(rows["val_accuracy"]).all()


def test_eval_of_a_regression_prints_r2_and_mae(notes):
    run = notes.train("two_inputs", "train.epochs=100")
    X, y = table("hours_slept")
    w, b = parameters(run)
    error = X @ w + b - y
    r2 = 1 - np.sum(error ** 2) / np.sum((y - y.mean()) ** 2)
    scored = notes.run("eval", run.last, "data.test=configs/data/hours_slept.csv",
                       ranks=3)
    line = re.search(r"^test: loss (\S+)  R2 (\S+)  MAE (\S+)  \(5 samples\)$",
                     scored.expect(0).out, re.M)
    assert line, scored
    np.testing.assert_allclose([float(v) for v in line.groups()],
                               [np.mean(error ** 2), r2, np.mean(np.abs(error))], rtol=1e-3)


def test_binary_accuracy_is_that_of_the_sign(notes):
    run = notes.train("logistic", "data.test=configs/data/students.csv",
                      "train.epochs=30")
    X, y = table("students")
    w, b = parameters(run)
    hits = np.mean((X @ w + b > 0) == (y > 0))
    assert 0.6 < hits < 0.999, "a score that could tell nothing"
    assert run.table("epochs")["test_accuracy"][-1] == pytest.approx(hits)
    _, accuracy, samples = notes.run("eval", run.last).expect(0).test_line()
    assert samples == 200 and accuracy == pytest.approx(100 * hits, abs=0.006)


# ---- the lab on forgotten gradients ----

def forgetful(notes, *overrides, output="forgetful", **how):
    return notes.train("linear", "train.zero_grad=false", "optimizer.lr=0.0005",
                       "train.epochs=120", *overrides, output=output, **how)


def test_forgotten_zero_grad_adds_the_gradients_up(notes):
    run = forgetful(notes)
    expected, w, b = train(*table("hours"), "mse", 0.0005, 120, [0.3367], 0.1288,
                           zero_grad=False)
    right = train(*table("hours"), "mse", 0.0005, 120, [0.3367], 0.1288)[0]
    assert np.abs(expected / right - 1).max() > 0.5, "the two would look the same"
    np.testing.assert_allclose(run.table("steps")["loss"], expected, rtol=2e-4)
    weights, bias = parameters(run)
    np.testing.assert_allclose([*weights, bias], [*w, b], rtol=1e-4)


def test_forgotten_zero_grad_resumes_exactly(notes):
    whole = forgetful(notes, output="whole")
    forgetful(notes, "train.max_steps=50", output="parts", code=75)
    parts = forgetful(notes, output="parts", ranks=3)
    with h5py.File(parts.last, "r") as file:
        assert np.abs(file["optimizer/grad/0.weight"][()]).max() > 0
    assert_same_bits(parts.bits(), whole.bits(), "stopped at step 50")


@pytest.mark.parametrize("optimizer, clip", [("sgd", 0), ("sgd", 0.2), ("adam", 0)])
def test_forgotten_zero_grad_is_pytorch_s(notes, torch, optimizer, clip):
    lr, momentum = (0.002, 0.9) if optimizer == "sgd" else (0.01, 0)
    run = notes.train("logistic", "train.zero_grad=false", f"optimizer.lr={lr}",
                      f"optimizer.name={optimizer}", f"optimizer.momentum={momentum}",
                      f"optimizer.clip_norm={clip}", "train.batch_size=40",
                      "train.shuffle=false", "train.epochs=10")
    X, y = (torch.tensor(v, dtype=torch.float32) for v in table("students"))
    model = torch.nn.Linear(2, 1)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    rule = torch.optim.SGD(model.parameters(), lr, momentum) if optimizer == "sgd" else \
        torch.optim.Adam(model.parameters(), lr)
    losses = []
    for at in list(range(0, 200, 40)) * 10:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            model(X[at:at + 40])[:, 0], y[at:at + 40])
        loss.backward()  # no zero_grad before it
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        rule.step()
        losses.append(loss.item())
    np.testing.assert_allclose(run.table("steps")["loss"], losses, rtol=2e-4)


# ---- images ----

def fashion_folder():
    names = [name for pair in NAMES.values() for name in pair]
    for folder in filter(None, (os.environ.get("FASHION_MNIST_DIR"),
                                REPO / "data" / "fashion-mnist",
                                "/usr/share/datasets/fashion-mnist")):
        if all((Path(folder) / n).exists() or (Path(folder) / f"{n}.gz").exists()
               for n in names):
            return folder
    pytest.skip("Fashion-MNIST is neither in $FASHION_MNIST_DIR nor in data/fashion-mnist")


# config: training losses by epoch, their band, (epoch, accuracy in percent), its band.
# The losses of other seeds lie within the bands; a tenth more or less of the learning rate
# leaves them (softmax, fashion_notes), or a fifth (small, mlp_notes).
IMAGES = {
    "softmax": ([0.9786, 0.5515, 0.4721, 0.4335, 0.4093], [0.015, 0.004, 0.002, 0.0015, 0.0015],
                (5, 90.0), 0.4),
    "small": ([0.4561, 0.2467, 0.1985], [0.02, 0.015, 0.011], (3, 94.7), 0.8),
    "mlp_notes": ([0.4571, 0.1730, 0.1162], [0.012, 0.009, 0.007], (3, 96.6), 0.5),
    "fashion_notes": ([2.2386, 2.0439, 1.7073, 1.3689, 1.1470], [0.008, 0.015, 0.025, 0.03, 0.03],
                      (5, 64.8), 1.5),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGES)
def test_images_give_the_notes_curve(notes, mnist, name):
    losses, band, (epoch, accuracy), accuracy_band = IMAGES[name]
    folder = fashion_folder() if name == "fashion_notes" else mnist
    run = notes.train(name, f"data.dir={folder}", timeout=300)
    lines = notes.result.losses()
    rows = run.table("epochs")
    assert len(rows) == len(losses)
    assert (np.abs(rows["train_loss"] - losses) < band).all(), (rows["train_loss"], losses)
    assert abs(100 * rows["test_accuracy"][epoch - 1] - accuracy) < accuracy_band
    assert [line[1:] for line in lines[:3]] == [(64, 60000), (6464, 60000), (12864, 60000)]
    assert len(lines) == 10 * len(losses)
    steps = run.table("steps")["loss"].reshape(len(losses), -1)
    same = np.corrcoef(np.diff(steps[-2]), np.diff(steps[-1]))[0, 1]
    assert same < 0.3, f"the same batches in the same order in each epoch? {same:.2f}"


@pytest.mark.slow
def test_three_splits_of_images(notes, mnist):
    run = notes.train("softmax_validation", f"data.dir={mnist}", ranks=3, timeout=300)
    rows = run.table("epochs")
    assert rows["samples_per_second"].all() and len(rows) == 5
    assert np.isnan(rows["test_loss"]).all()
    assert (np.diff(rows["val_accuracy"]) > 0).all() and rows["val_accuracy"][-1] > 0.865
    assert (np.diff(rows["train_loss"]) < 0).all()
    assert abs(rows["train_loss"][-1] - 0.51) < 0.01
    steps = run.table("steps")
    assert len(steps) == 5 * 391 and steps["samples"][390] == 50000 - 390 * 128
    with h5py.File(run.metrics, "r") as file:
        loss, accuracy = file.attrs["test_loss"], file.attrs["test_accuracy"]
    scored = notes.run("eval", run.best, timeout=60).expect(0).test_line()
    assert scored == (pytest.approx(loss, abs=5.1e-5), pytest.approx(100 * accuracy, abs=0.006),
                      10000)


@pytest.mark.slow
def test_softmax_regression_is_the_same_in_double(notes, mnist):
    """One epoch of 6000 digits in order from zeros, beside numpy in double."""
    import gzip
    arrays = []
    for name, head in zip(NAMES["train"], (16, 8)):
        path = mnist / name
        raw = path.read_bytes() if path.exists() else gzip.open(f"{path}.gz").read()
        arrays.append(np.frombuffer(raw, np.uint8, offset=head))
    X, y = arrays[0].reshape(-1, 784)[:6000] / 255, arrays[1][:6000]
    run = notes.train("softmax", f"data.dir={mnist}", "data.limit=6000", "train.epochs=1",
                      "train.shuffle=false", "model.init=constant", ranks=3)
    W, b, losses = np.zeros((10, 784)), np.zeros(10), []
    for at in range(0, 6000, 64):
        x, t = X[at:at + 64], y[at:at + 64]
        z = x @ W.T + b
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        losses.append(-np.log(p[np.arange(len(t)), t]).mean())
        p[np.arange(len(t)), t] -= 1
        W, b = W - 0.01 * p.T @ x / len(t), b - 0.01 * p.sum(0) / len(t)
    np.testing.assert_allclose(run.table("steps")["loss"], losses, rtol=2e-6)
    assert np.abs(run.model()["0.weight"] - W).max() < 1e-6

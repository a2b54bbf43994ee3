"""mae and huber against PyTorch's definitions, computed here."""

import numpy as np
import pytest

from helpers import Lab, assert_same_bits

DELTA = 0.7


def loss_and_slope(kind, d):
    if kind == "mae":
        return np.abs(d), np.sign(d)
    far = np.abs(d) > DELTA
    return (np.where(far, DELTA * (np.abs(d) - DELTA / 2), d * d / 2),
            np.where(far, DELTA * np.sign(d), d))


@pytest.mark.parametrize("kind", ["mae", "huber"])
def test_regression_follows_the_definition(tmp_path, kind):
    lab = Lab(tmp_path, tmp_path)
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (24, 2)).astype(np.float32).astype(float)
    y = (x @ np.array([[1, 0.5], [-2, 1]]) + rng.normal(0, 1, (24, 2))).astype(np.float32).astype(float)
    np.savetxt(tmp_path / "t.csv", np.column_stack([x, y]), "%.9g", ",", header="a,b,y,z", comments="")
    lab.config(data__dir=None, data__train="t.csv", data__test="t.csv", data__target="y,z",
               model__layers=None, model__init="constant", model__init_weight=0.1, loss__name=kind,
               loss__delta=DELTA, train__batch_size=0, train__epochs=40, optimizer__lr=0.05)
    result = lab.run("run.ini").expect(0)
    w, b, losses = np.full((2, 2), 0.1), np.zeros(2), []
    for _ in range(40):
        loss, slope = loss_and_slope(kind, x @ w.T + b - y)
        losses.append(loss.mean())
        w, b = w - 0.05 * slope.T @ x / slope.size, b - 0.05 * slope.sum(0) / slope.size
    run = lab.out()
    np.testing.assert_allclose(run.table("epochs")["train_loss"], losses, rtol=1e-5)
    np.testing.assert_allclose(run.model()["0.weight"], w, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(run.model()["0.bias"], b, rtol=1e-4, atol=1e-6)
    row = run.table("epochs")[-1]
    d = x @ w.T + b - y
    assert row["test_loss"] == pytest.approx(loss_and_slope(kind, d)[0].mean(), rel=1e-5)
    assert row["test_mae"] == pytest.approx(np.abs(d).mean(), rel=1e-5)
    assert np.isnan(row["train_accuracy"]) and "R2" in result.out
    lab.run("run.ini", "run.name=three", ranks=3).expect(0)
    assert_same_bits(lab.out("three").bits(), run.bits(), "3 ranks")
    assert "R2" in lab.run("eval", run.path).expect(0).out


def test_delta_is_above_zero(tmp_path):
    lab = Lab(tmp_path, tmp_path)
    lab.config(loss__delta=0)
    lab.run("run.ini").fails(2, "loss.delta", "> 0")

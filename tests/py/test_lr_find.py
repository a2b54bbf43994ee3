"""scripts/sweep.py lr-find: a run whose learning rate rises until the loss does."""

import os
import re
import subprocess
import sys

import pytest

from helpers import REPO, TRAINER

pytest.importorskip("optuna", reason="optuna is not installed")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")


def find(lab, *args, code=0):
    done = subprocess.run([sys.executable, REPO / "scripts/sweep.py", "lr-find", "run.ini", *args],
                          cwd=lab.dir, env={**os.environ, "TRAINER": str(TRAINER)},
                          capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_what_it_suggests_trains_and_ten_times_that_does_not(lab):
    lab.config(model__layers="dense:32 relu", optimizer__momentum=0.9, train__batch_size=32)
    said = find(lab).stdout
    steps = lab.out("lr-find/run").table("steps")
    assert len(steps) >= 300 or "diverged" in said
    assert (steps["lr"][1:] > steps["lr"][:-1]).all(), "it rises from step to step"
    rate = float(re.search(r"optimizer.lr = (\S+) is", said)[1])
    losses = {}
    for factor in (1, 40):
        result = lab.run("run.ini", f"run.name=x{factor}", f"optimizer.lr={factor * rate}",
                         "train.epochs=5")
        assert result.code in (0, 5)
        losses[factor] = lab.out(f"x{factor}").table("steps")["loss"][-5:].mean()
    assert losses[1] < 0.6 * steps["loss"][:5].mean()
    assert not losses[40] < 2 * losses[1]
    png = (lab.dir / "runs/lr-find/run/lr-find.png").read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and said.endswith("runs/lr-find/run/lr-find.png\n")


def test_the_end_of_the_range_is_optimizer_lr(lab):
    lab.config(train__batch_size=32)
    said = find(lab, "optimizer.lr=1e-5").stdout
    assert "did not rise yet: look further, with optimizer.lr=0.0001" in said
    assert "optimizer.lr = " not in said, "nothing to suggest"
    assert lab.out("lr-find/run").table("steps")["lr"][-1] == pytest.approx(1e-5)


@pytest.mark.parametrize("args, says", [
    (["optimizer.schedule=cosine"], "optimizer.schedule"), (["optimizer.lrr=1"], "optimizer.lrr"),
    (["word"], "section.key=value"), (["optimizer.lr=fast"], "optimizer.lr=fast"),
    (["data.dir=nowhere"], "nowhere")])
def test_what_can_not_be_is_said_in_a_line(lab, args, says):
    lab.config()
    err = find(lab, *args, code=2).stderr
    assert says in err and len(err.splitlines()) == 1

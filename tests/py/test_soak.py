"""A short `make soak`, and what it must see."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import REPO

sys.path.insert(0, str(REPO / "tests"))
import soak  # noqa: E402

MIB = 1 << 20


def watched(memory, files, seconds):
    """A run of two hundred looks that took so much."""
    run = SimpleNamespace(table=lambda name: {"seconds": np.array(seconds)} if name == "steps" else [])
    lab = SimpleNamespace(out=lambda name: run)
    return SimpleNamespace(name="run", lab=lab, rows=lambda: (len(seconds), 10),
                           seen={1: [(k, memory(k), files(k)) for k in range(200)]})


@pytest.mark.parametrize("memory, files, pace, says", [
    (lambda k: 100 * MIB, lambda k: 15, 1, None),
    (lambda k: 100 * MIB + k * MIB // 4, lambda k: 15, 1, "has grown by 25"),
    (lambda k: 100 * MIB, lambda k: 15 + k // 40, 1, "open files more"),
    (lambda k: 100 * MIB, lambda k: 15, 2, "2.00 times as long")])
def test_what_grows_or_slows_down_is_said(memory, files, pace, says):
    _, bad = soak.judge(watched(memory, files, [1e-3] * 200 + [pace * 1e-3] * 200), 1.5)
    assert not bad if says is None else len(bad) == 1 and says in bad[0]


@pytest.mark.slow
def test_a_quarter_of_a_minute(tmp_path):
    lines, bad, _ = soak.soak(tmp_path, 0.25, slow=0)
    assert not bad and any(line.startswith("cnn    rank 1  memory") for line in lines), lines

"""tests/version1 holds a run that was stopped, in the files of version 1: they are read for ever, to the same bits."""

import hashlib
import shutil
import subprocess
import sys

import h5py
import pytest

from helpers import REPO, Lab

KEPT = REPO / "tests/version1"
# sha256 of the tensors under /model at the end of the run, one after the other by name
END = "718b8decfd6660821f6eab4a4a2a5db36b8c5cd289bf6df51712dd256b89afbe"


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path, KEPT)
    for name in ("run.ini", "train.csv"):
        shutil.copy(KEPT / name, tmp_path)
    shutil.copytree(KEPT, tmp_path / "runs/run", symlinks=True,
                    ignore=shutil.ignore_patterns("run.ini", "train.csv", "eval.txt", "predictions.csv"))
    return lab


def test_it_is_evaluated_and_predicts(lab):
    result = lab.run("eval", "runs/run").expect(0)
    assert (result.out, result.err) == ((KEPT / "eval.txt").read_text(), "")
    lab.run("predict", "runs/run", "--output", "p.csv").expect(0)
    assert (lab.dir / "p.csv").read_text() == (KEPT / "predictions.csv").read_text()


@pytest.mark.parametrize("ranks", [None, 3])
def test_it_goes_on(lab, ranks):
    result = lab.run("run.ini", ranks=ranks).expect(0)
    assert "resume  from step 13" in result.out and "digest" not in result.err
    model = lab.out("run").model()
    assert hashlib.sha256(b"".join(model[name].tobytes() for name in sorted(model))).hexdigest() == END
    with h5py.File(KEPT / "metrics.h5") as before:
        steps = lab.out("run").table("steps")
        assert len(steps) == 30 and (steps[:13] == before["steps"][:]).all()


def test_it_starts_another_run(lab):
    lab.run("run.ini", "run.name=next", "model.init=file", "model.init_file=runs/run/checkpoints/last.h5").expect(0)


def test_inspect_finds_it_whole(lab):
    done = subprocess.run([sys.executable, REPO / "scripts/inspect.py", "runs/run"], cwd=lab.dir, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0 and "digest good" in done.stdout

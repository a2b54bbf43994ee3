"""A short torture: kills at random instants and at random system calls, full disks, signals.
`make torture` is the long one."""

import sys

import pytest

from helpers import REPO

sys.path.insert(0, str(REPO / "tests"))
import torture  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.together]


def test_nothing_is_lost(tmp_path):
    killed, faults, stories = torture.torture(tmp_path, 6, seed=1, with_matrix=False, most=3)
    print(dict(killed), dict(faults))
    assert sum(killed.values()) >= 6 and stories >= 1
    assert any(name.startswith("kill -9 of") for name in faults)
    assert faults["opened for writing"] > 0


def test_a_loss_is_seen(tmp_path):
    """The torture fails where a file is cut, a row is missing or a link names nothing."""
    memory = tmp_path / "memory"
    memory.mkdir()
    torture.prepare(tmp_path, memory, ["short"])
    run = next(tmp_path.glob("*/whole"))
    step = torture.check_folder(run)
    assert step == 13
    kept = {path: path.read_bytes() for path in (run / "metrics.h5", run / "config.ini",
                                                 run / f"checkpoints/step-{step:08d}.h5")}
    for path, whole in kept.items():
        path.write_bytes(whole[:len(whole) // 2])
        with pytest.raises(torture.Loss):
            torture.check_folder(run)
        path.write_bytes(whole)
    (run / "checkpoints" / f"step-{step:08d}.h5").rename(run / "checkpoints" / "half.h5")
    with pytest.raises(torture.Loss):
        torture.check_folder(run)

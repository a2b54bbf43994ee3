"""What scripts/slurm/train.sbatch asks of Slurm; on a real one: test_slurm_train.py."""

import os
import subprocess

import pytest

from helpers import REPO

FAKES = {"srun": 'echo "srun $*"; exit ${CODE:-75}', "sleep": "",
         "scontrol": 'echo "scontrol $*"; exit 1'}


def job(folder, *args, **env):
    """A start of the job; -> (exit code, what it said)."""
    for name, text in FAKES.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    known = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    with open(folder / "out", "w") as out:
        done = subprocess.run(
            ["bash", REPO / "scripts/slurm/train.sbatch", *args], cwd=folder, stdout=out,
            stderr=subprocess.STDOUT, timeout=60,
            env={**known, "PATH": f"{folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "7",
                 "SLURM_JOB_NAME": "j", "SLURM_JOB_NODELIST": "n", "TRAINER": "my trainer", **env})
    return done.returncode, (folder / "out").read_text()


@pytest.mark.parametrize("restart", ["0", "2"])
def test_only_a_later_start_is_told_to_go_on(tmp_path, restart):
    code, said = job(tmp_path, "c d.ini", "run.resume=never", SLURM_RESTART_COUNT=restart, CODE="0")
    line = "srun -K --mpi=pmix my trainer train c d.ini run.resume=never"
    assert code == 0 and f"{line}{' run.resume=auto' * (restart != '0')}\n" in said
    assert "scontrol" not in said


def test_a_controller_that_is_away_is_asked_again(tmp_path):
    (tmp_path / "c.ini").touch()
    code, said = job(tmp_path, "c.ini", SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID="3")
    assert code == 75 and said.count("scontrol requeue 7_3\n") == 10
    assert said.endswith("Slurm did not requeue it: the same sbatch goes on\n")

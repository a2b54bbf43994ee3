"""`make bench`: a part that takes too long is ended, and the rest goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import REPO, running


@pytest.fixture
def build(tmp_path):
    """A build folder whose programs hang, with a child of their own."""
    (tmp_path / "bench").mkdir()
    for name in ("trainer", "bench/gemm"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho $$ >>{tmp_path}/pids\nsleep 1000\necho never\n")
        program.chmod(0o755)
    return tmp_path


@pytest.mark.slow
def test_parts_that_hang_are_ended_and_named(build):
    began = time.monotonic()
    done = subprocess.run([sys.executable, REPO / "scripts/bench/bench.py", "--limit", "0.5"],
                          env={**os.environ, "BUILD": str(build), "OPENBLAS_NUM_THREADS": "1"},
                          text=True, capture_output=True, timeout=100, check=False)
    assert done.returncode == 1, done
    lines = [line for line in done.stderr.splitlines() if "ended after 0.5 s" in line]
    assert [line.split(":")[0] for line in lines] == [
        "the GEMMs of trainer", "epochs of softmax 784-10", "epochs of 784-32-10",
        "epochs of 784-512-512-10", "what is around the steps", "beside busy loops"], done
    assert "took too long and was ended: the GEMMs of trainer" in done.stderr.splitlines()[-1]
    assert not any(running(int(pid)) for pid in Path(build / "pids").read_text().split())
    assert (build / "bench/bench.csv").read_text().startswith("kind,what,batch")
    assert time.monotonic() - began < 90


def test_busy_loops_end_with_the_bench_that_was_killed():
    code = ("import os, sys, time; sys.path.insert(0, %r)\n"
            "import bench, parts\n"
            "parts.limit['end'] = time.monotonic() + 100\n"
            "with parts.process([sys.executable, '-c', bench.BUSY, os.getpid()], 1) as loop:\n"
            "    print(loop.pid, flush=True)\n"
            "    time.sleep(100)\n") % str(REPO / "scripts/bench")
    with subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE,
                          env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}) as killed:
        loop = int(killed.stdout.readline())
        time.sleep(0.3)
        alive = running(loop)
        killed.kill()
    try:
        until = time.monotonic() + 20
        while running(loop) and time.monotonic() < until:
            time.sleep(0.05)
        assert alive and not running(loop)
    finally:
        if running(loop):
            os.kill(loop, signal.SIGKILL)


@pytest.mark.slow
def test_threads_agree_on_when_a_measurement_ends(tmp_path):
    """More threads than cores start at different times: none may wait for others that have stopped."""
    built = subprocess.run(["make", f"BUILD={REPO}/build", f"{REPO}/build/bench/gemm"], cwd=REPO,
                           env={**os.environ, "MAKEFLAGS": ""}, text=True, capture_output=True,
                           timeout=100, check=False)
    assert built.returncode == 0, built.stderr
    done = subprocess.run([REPO / "build/bench/gemm", "auto", "0.002"], text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "5"}, capture_output=True,
                          timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1 + 3 * 4 * 2 * 2 + 2 and "nan" not in done.stdout, done.stdout

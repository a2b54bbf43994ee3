"""`make bench`: a part that takes too long is ended, and the rest goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from helpers import REPO, TRAINER, running, write_idx
from sweeps import script

ENV = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
sys.path.insert(0, str(REPO / "scripts/bench"))


@pytest.mark.slow
@pytest.mark.parametrize("gemm, first", [("hang", "the GEMMs, avx2"), ("peak", "the epochs, avx2")])
def test_parts_that_hang_are_ended_and_named(tmp_path, mnist, gemm, first):
    hang = f"echo $$ >>{tmp_path}/pids; sleep 1000; echo never"  # with a child of its own
    (tmp_path / "bench").mkdir()
    script(tmp_path / "trainer", f'[ "$1" != --version ] || {{ echo kernels avx2; exit; }}\n{hang}')
    peaks = "\n".join(f"echo peak {n} 50; echo memory {n} 9" for n in range(1, 65))
    script(tmp_path / "bench/gemm", peaks if gemm == "peak" else hang)
    began = time.monotonic()
    done = subprocess.run([sys.executable, REPO / "scripts/bench/bench.py", "--limit", "0.5"],
                          env={**ENV, "BUILD": str(tmp_path), "MNIST_DIR": str(mnist),
                               "BENCH_PYTHON": "/bin/false"},
                          text=True, capture_output=True, timeout=100, check=False)
    assert done.returncode == 1, done
    lines = [line for line in done.stderr.splitlines() if "ended after 0.5 s" in line]
    assert [line.split(":")[0] for line in lines] == [
        first, *["convolutions, avx2"] * (gemm == "peak"), "what is around the steps",
        "beside busy loops", "the race"], done
    assert f"took too long and was ended: {first}" in done.stderr.splitlines()[-1]
    assert not any(running(int(pid)) for pid in (tmp_path / "pids").read_text().split())
    assert (tmp_path / "bench/bench.csv").read_text().startswith("kind,set,what,batch")
    assert time.monotonic() - began < 90


@pytest.mark.slow
def test_a_row_and_the_picture_have_our_epoch_beside_those_of_the_peers(tmp_path, data, monkeypatch):
    """On one thread, of a peer that says what its ways take and one that isn't there."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    (tmp_path / "bench").mkdir()
    (tmp_path / "trainer").symlink_to(TRAINER)
    peer = script(tmp_path / "python", 'case $2 in jax) exit 1 ;; esac\necho 9.9 eager compiled\n'
                  'while read -r way rest; do [ $way = eager ] && echo 7.5 9.5 8.5 || echo; done')
    monkeypatch.setenv("BUILD", str(tmp_path))
    monkeypatch.setenv("BENCH_PYTHON", peer)
    import bench
    bench.limit["end"] = time.monotonic() + 60
    monkeypatch.setattr(bench, "stretch", lambda network, batch: 5)
    monkeypatch.setitem(bench.LAYERS, "256-8-10", "dense:8 relu")
    bench.epochs(tmp_path, {"mnist": data}, "portable", {}, {1: 10.0}, 1, [("256-8-10", "mnist", (16,))])
    found = {(row["kind"], row["who"]): row for row in bench.rows if row["kind"] != "zeros"}
    assert found.keys() == {("floor", "machine"), ("epoch", "trainer"), ("epoch", "PyTorch eager")}
    assert (found["epoch", "PyTorch eager"]["best"], found["epoch", "PyTorch eager"]["median"]) == (7.5, 8.5)
    assert 0 < found["epoch", "trainer"]["best"] <= found["epoch", "trainer"]["median"] < 60
    flop = 60000 * 2 * (2 * 256 * 8 + 3 * 8 * 10)
    assert found["floor", "machine"]["best"] == pytest.approx(flop / 10e9)
    report = (tmp_path / "bench/report.txt").read_text()
    assert "PyTorch 9.9" in report and "JAX is not in" in report and "compiled fails" in report
    bench.gemm_table("portable", {"peak": {1: 10}, "memory": {1: 9}}, {(784, 512, 64, 1): {"trainer": [[7] * 3]}})
    bench.write_csv()
    done = subprocess.run([sys.executable, REPO / "scripts/plot_bench.py", tmp_path / "bench/bench.csv"],
                          text=True, capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bench/bench.png").read_bytes()[1:4] == b"PNG"
    assert "PyTorch eager" in (tmp_path / "bench/bench.svg").read_text()


@pytest.mark.slow
def test_the_model_of_pytorch_is_ours(lab):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    import bench
    import peer_python
    for name, shape in ((bench.CONV, (2, 1, 28, 28)), (bench.LARGE, (2, 784)), ("784-10", (2, 784))):
        layers = bench.LAYERS[name]
        model = peer_python.torch_model(torch.nn, layers.replace(" ", ",") or "linear")
        assert model(torch.zeros(shape)).shape == (2, 10)
        samples = np.zeros((20, 28, 28), np.uint8), np.arange(20) % 10
        write_idx(lab.dir / name, samples, samples)
        lab.config(data=lab.dir / name, model__layers=layers, train__batch_size=10)
        count = sum(p.numel() for p in model.parameters())
        assert f" {count} parameters" in lab.run("check", "run.ini").expect(0).out


def test_busy_loops_end_with_the_bench_that_was_killed():
    code = ("import os, sys, time; sys.path.insert(0, %r)\n"
            "import around, parts\n"
            "parts.limit['end'] = time.monotonic() + 100\n"
            "loop = [sys.executable, '-c', around.BUSY, os.getpid()]\n"
            "with parts.process(loop, parts.environment(1)) as loop:\n"
            "    print(loop.pid, flush=True)\n"
            "    time.sleep(100)\n") % str(REPO / "scripts/bench")
    with subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE,
                          env=ENV) as killed:
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
def test_our_gemms_are_right_and_end_with_more_threads_than_cores():
    built = subprocess.run(["make", f"BUILD={REPO}/build", f"{REPO}/build/bench/gemm"], cwd=REPO,
                           env={**ENV, "MAKEFLAGS": ""}, text=True, capture_output=True,
                           timeout=100, check=False)
    assert built.returncode == 0, built.stderr
    done = subprocess.run([REPO / "build/bench/gemm", "auto", "0.002"], text=True,
                          env={**ENV, "OMP_NUM_THREADS": "5"}, capture_output=True,
                          timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 * 2 + 2 * 3 * 4 * 2 and "nan" not in done.stdout, done.stdout


def test_the_guard_of_instructions_fails_on_more_and_skips_another_compiler(tmp_path, monkeypatch, capsys):
    """With counts of our own: 3% more pass, above that the step is named."""
    import check
    known = {"compiler": check.compiler(), "step": {"mlp, avx2": 1000, "cnn, avx2": 2000}}
    (tmp_path / "instructions.json").write_text(json.dumps(known))
    monkeypatch.setattr(check, "COUNTS", tmp_path / "instructions.json")
    monkeypatch.setattr(check.shutil, "which", lambda name: name)
    monkeypatch.setattr(sys, "argv", ["check.py"])

    def outcome(**counts):
        monkeypatch.setattr(check, "measure", lambda: {f"{k}, avx2": n for k, n in counts.items()})
        return check.main(), capsys.readouterr().out
    assert outcome(mlp=1030, cnn=1500)[0] == 0
    code, said = outcome(mlp=1031, cnn=2000)
    assert code == 1 and "above: mlp, avx2. If" in said
    monkeypatch.setattr(check, "compiler", lambda: "another 1.0")
    code, said = outcome(mlp=9999, cnn=2000)
    assert code == 0 and "skipped" in said


@pytest.mark.slow
def test_a_step_takes_the_instructions_that_are_committed():
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    done = subprocess.run([sys.executable, REPO / "scripts/bench/check.py"], text=True,
                          capture_output=True, env={**ENV, "BUILD": str(TRAINER.parent)})
    assert done.returncode == 0, done.stdout + done.stderr

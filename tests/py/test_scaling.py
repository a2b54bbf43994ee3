"""The scaling script, on measurements whose answers can be worked out by hand."""

import csv
import re
import subprocess
import sys

import pytest

from helpers import REPO

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
sys.path.insert(0, str(REPO / "scripts"))
import scaling  # noqa: E402

WIDTHS = [784, 512, 512, 10]  # 669706 parameters
COMPUTE = scaling.Compute(0.5e-3, 10e-6)
LINK = scaling.Link(50e-6, 5e-6, 100e6)

# ms: (hosts, batch) -> the step on hosts that share 2 cores, worked out by hand
STEPS = {(1, 16): 0.5 + 0.16, (1, 64): 0.5 + 0.64, (1, 1024): 0.5 + 10.24,
         (2, 64): 0.5 + 0.32 + 2 * (0.05 + 2 * 0.005) + 2 * 13.39412,
         (4, 64): 2 * (0.5 + 0.16) + 2 * (0.05 + 6 * 0.005) + 2 * 20.09118,
         (4, 1024): 2 * (0.5 + 2.56) + 2 * (0.05 + 6 * 0.005) + 2 * 20.09118}


def test_the_numbers_of_the_network_are_right():
    assert scaling.parameters(WIDTHS) == 669706
    wide, cost = scaling.wider(WIDTHS, COMPUTE, 10)
    assert wide == [784, 5120, 5120, 10]
    assert cost.each / COMPUTE.each == pytest.approx(30279680 / 668672)


def test_the_busiest_host_has_whole_blocks():
    assert [scaling.busiest(64, n) for n in (1, 2, 3, 4, 1024)] == [64, 32, 32, 16, 16]
    assert scaling.busiest(7, 4) == 7
    assert scaling.busiest(1000, 2) == 512


def test_the_fit_gives_back_what_made_the_points():
    points = [(n, COMPUTE.fixed + COMPUTE.each * n) for n in (16, 64, 1024)]
    assert scaling.fit_compute(points) == pytest.approx(COMPUTE)
    assert scaling.fit_compute([(16, 1e-3), (64, 2e-3)]).fixed > 0
    assert scaling.fit_compute([(16, 1e-3), (64, 5e-3)]).fixed == 0, "no time is negative"


def test_many_hosts_cost_what_their_messages_cost():
    few, many = (sum(scaling.exchange(n, WIDTHS, LINK)) for n in (512, 1024))
    assert many - few == pytest.approx(2 * 2 * 512 * 5e-6, rel=0.03)


def test_predicted_steps_stand_beside_measured_ones(tmp_path):
    """Of which one took twice its time."""
    columns = ("hosts batch mbit step_seconds compute_seconds comm_seconds latency_seconds "
               "gap_seconds bytes_per_second widths cores").split()
    with open(tmp_path / "hosts.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for (hosts, batch), ms in STEPS.items():
            seconds = ms / 1e3 * (1 + ((hosts, batch) == (4, 1024)))
            link = [1000, seconds, "", "", *LINK] if hosts > 1 else ["", seconds, seconds, 0, *3 * [""]]
            writer.writerow([hosts, batch, *link, "784-512-512-10", 2])
    done = subprocess.run([sys.executable, REPO / "scripts/scaling.py", "hosts.csv"], cwd=tmp_path,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=100)
    assert done.returncode == 0, done.stderr
    assert re.search(r"computing: 0\.500 ms a step \+ 10\.00 us a sample", done.stdout)
    for (hosts, batch), ms in STEPS.items():
        wrong = (hosts, batch) == (4, 1024)
        measured = f"{ms * (1 + wrong):.3f}"
        assert re.search(rf"^ +{hosts} +{batch} +\S+ +{ms:.3f} +{measured} +{'-50' if wrong else '[+-]0'}%$",
                         done.stdout, re.MULTILINE), done.stdout
    assert "median error 0%, largest 50%" in done.stdout
    assert (tmp_path / "scaling.png").read_bytes()[1:4] == b"PNG"
    assert (tmp_path / "scaling.svg").read_text().count("speedup over 1 host") >= 2

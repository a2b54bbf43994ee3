"""scripts/plot.py: the pictures of a run are there, whole, and of a readable size."""

import os
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from helpers import REPO, TRAINER, Lab

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

SVG = "{http://www.w3.org/2000/svg}"


def plot(lab, run):
    env = {**os.environ, "TRAINER": str(TRAINER)}
    return subprocess.run([sys.executable, REPO / "scripts" / "plot.py", f"runs/{run}"],
                          cwd=lab.dir, env=env, capture_output=True, text=True, timeout=120)


def check(lab, run, names):
    """Plots, and asserts that exactly these pictures came, each as PNG and SVG."""
    done = plot(lab, run)
    assert done.returncode == 0, done.stderr
    folder = lab.dir / "runs" / run / "plots"
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        f"{name}.{kind}" for name in names for kind in ("png", "svg"))
    for name in names:
        raw = (folder / f"{name}.png").read_bytes()
        assert raw[:8] == b"\x89PNG\r\n\x1a\n" and raw[-8:-4] == b"IEND"
        width, height = struct.unpack(">2I", raw[16:24])
        assert 500 <= width <= 2500 and 400 <= height <= 2500, (name, width, height)
        root = ET.parse(folder / f"{name}.svg").getroot()
        assert root.tag == f"{SVG}svg"
        assert len(list(root.iter(f"{SVG}path"))) > 10, f"{name}.svg is nearly empty"
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("config, overrides, names", [
    ("linear", (), {"curves", "fit"}),
    ("two_inputs", ("train.epochs=300",), {"curves", "fit"}),
    ("logistic_1d", (), {"curves", "fit", "confusion"}),
    ("logistic", ("data.test=configs/data/students.csv",), {"curves", "fit", "confusion"}),
])
def test_tables(tmp_path, config, overrides, names):
    lab = Lab(tmp_path, "none")
    (tmp_path / "configs").symlink_to(REPO / "configs")
    lab.run(f"configs/{config}.ini", *overrides).expect(0)
    check(lab, config, names)


@pytest.mark.slow
def test_images_and_weights_of_a_softmax_model(lab):
    lab.config(model__layers="", data__validation=50)
    lab.run("run.ini").expect(0)
    check(lab, "run", {"curves", "confusion", "images", "weights"})


def test_no_run_is_said(lab):
    done = plot(lab, "none")
    assert done.returncode != 0 and "runs/none" in done.stderr
    assert "Traceback" not in done.stderr

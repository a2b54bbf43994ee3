"""scripts/report.py: one page with all of a run, or several."""

import csv
import html
import json
import math
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from helpers import CLASSES, REPO, TRAINER, Lab

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
VOID = {"meta", "img", "br", "line", "circle", "polyline"}


class Page(HTMLParser):
    """Checks that all tags are closed in order, and gathers what there is."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.links = [], [], text, []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag

    def curves(self):
        return {tag["aria-label"]: json.loads(html.unescape(tag["data-curves"]))
                for name, tag in self.tags if "data-curves" in tag}


def report(lab, *args, code=0):
    done = subprocess.run([sys.executable, REPO / "scripts/report.py", *args], cwd=lab.dir, text=True,
                          capture_output=True, check=False, env={**os.environ, "TRAINER": str(TRAINER)})
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def lab(tmp_path_factory, data):
    lab = Lab(tmp_path_factory.mktemp("report"), data)
    lab.train("run.name=mlp", model__layers="dense:12 relu", train__epochs=3,
              data__classes=", ".join(f"<kind {k}>" for k in range(CLASSES)))
    lab.train("run.name=cnn", model__layers="conv:4@3 relu maxpool:2", train__epochs=2)
    (lab.dir / "t.csv").write_text("a,b,y\n" + "".join(f"{k},{k % 7},{3 * k - k % 7}\n" for k in range(60)))
    lab.train("run.name=reg", data__dir=None, data__train="t.csv", data__test="t.csv", model__layers=None,
              loss__name="mse", train__epochs=4, data__normalize="standardize", train__batch_size=10)
    return lab


def test_a_run_of_images(lab):
    assert report(lab, "runs/mlp").stdout == "runs/mlp/report.html\n"
    page = Page((lab.dir / "runs/mlp/report.html").read_text())
    assert all(link.startswith("data:image/png;base64,") for link in page.links), "nothing from elsewhere"
    assert "http" not in page.text.replace("http-equiv", "")
    epochs = lab.out("mlp").table("epochs")
    loss = page.curves()["loss over the epochs"]
    assert loss["xs"] == [1, 2, 3]
    for curve, column in zip(loss["curves"], ("train_loss", "test_loss")):
        assert curve["name"] == column.replace("_", " ")
        assert curve["y"] == pytest.approx(epochs[column].tolist(), rel=1e-4)
    assert "&lt;kind 3&gt;" in page.text and "<kind 3>" not in page.text
    for title in ("Summary", "Curves", "Confusion", "Mistakes", "Layer 0", "From layer to layer",
                  "Where the time went", "Origin", "Config"):
        assert re.search(rf"<h[23]>{title}", page.text), title
    line = lab.run("eval", lab.out("mlp").last).out.splitlines()[0]
    assert line in page.text
    assert all(tag["alt"] for name, tag in page.tags if name == "img")


def test_what_the_layers_make_of_a_sample(lab):
    report(lab, "runs/cnn", "-o", "cnn.html")
    text = (lab.dir / "cnn.html").read_text()
    for title in ("input: 1 x ", "0 conv:4@3 relu: 4 x ", "2 maxpool:2: 4 x ", "4 dense:10"):
        assert f"<h3>{title}" in text, title
    lab.run("predict", "runs/cnn", "--index", "0", "--output", "p.csv").expect(0)
    row = next(csv.DictReader((lab.dir / "p.csv").read_text().splitlines()))
    logits = re.search(r"<h3>4 dense:10.*?</table>", text, re.S)[0]
    z = [float(v) for v in re.findall(r"<td>([^<]+)</td>", logits)]
    e = [math.exp(v - max(z)) for v in z]
    assert [v / sum(e) for v in e] == pytest.approx([float(row[f"p{k}"]) for k in range(10)], abs=1e-4)


def test_a_regression_and_several_runs(lab):
    report(lab, "runs/reg", "-o", "reg.html")
    page = Page((lab.dir / "reg.html").read_text())
    assert "R2 over the epochs" in page.curves() and "Mistakes" not in page.text and "rmse" in page.text
    report(lab, "runs/mlp", "runs/cnn")
    page = Page((lab.dir / "report.html").read_text())
    assert [c["name"] for c in page.curves()["loss over the epochs"]["curves"]] == ["mlp: test loss", "cnn: test loss"]
    assert "What differs in the configs" in page.text and "conv:4@3 relu maxpool:2" in page.text


def test_what_is_no_run_is_said(lab):
    assert "runs/nothing" in report(lab, "runs/nothing", code=1).stderr
    assert len(report(lab, "runs/mlp", "-o", "nowhere/r.html", code=1).stderr.splitlines()) == 1


def test_runs_of_one_name_a_lone_value_and_a_constant(lab, tmp_path):
    lab.train("run.name=late", "train.eval_every=3", model__layers="dense:12 relu", train__epochs=3)
    shutil.copytree(lab.dir / "runs/late", tmp_path / "late", symlinks=True)
    report(lab, "runs/late", str(tmp_path / "late"), "-o", "two.html")
    page = Page((lab.dir / "two.html").read_text())
    names = [c["name"] for c in page.curves()["loss over the epochs"]["curves"]]
    assert len(set(names)) == 2 and str(tmp_path / "late") in names[1]
    assert sum(tag == "circle" for tag, _ in page.tags) >= 2, "a value alone is a dot"
    report(lab, "runs/late", "-o", "late.html")
    text = (lab.dir / "late.html").read_text()
    svg = text[text.index('aria-label="learning rate of the steps"'):].split("</svg>")[0]
    assert svg.count('text-anchor="end"') >= 2, "labels beside a line that is level"

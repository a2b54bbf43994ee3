"""make install's tree: program, scripts, library, completion and manual, where they are put; scripts/examples."""

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys

import h5py
import pytest

from helpers import REPO, TRAINER, Lab, environment

INSTRUMENTED = any(mark in TRAINER.read_bytes() for mark in (b"__asan_init", b"__gcov_init"))
EXAMPLES = REPO / "scripts/examples"


def call(*command, cwd, code=0, **env):
    done = subprocess.run([*map(str, command)], cwd=cwd, text=True, capture_output=True, check=False,
                          env={**environment(True), **env})
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def lab(tmp_path_factory, data):
    lab = Lab(tmp_path_factory.mktemp("install"), data)
    lab.train(model__layers="dense:8 relu", train__epochs=3)
    return lab


def install(to, *args, code=0, prefix="/usr/local"):
    call(REPO / "scripts/install.sh", *args, cwd=REPO, code=code, BUILD=str(TRAINER.resolve().parent),
         DESTDIR=str(to), PREFIX=prefix, PYTHON=sys.executable)
    return to / "usr/local"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return install(tmp_path_factory.mktemp("to") / "a stage")


def test_what_is_installed_runs(lab, tree):
    assert call(tree / "bin/trainer", "--version", cwd=lab.dir) == call(TRAINER, "--version", cwd=lab.dir)
    said = call(tree / "bin/trainer-inspect", "runs/run", cwd=lab.dir)
    assert "digest good" in said
    found = call(tree / "bin/trainer-watch", "runs/run", "--once", cwd=lab.dir)
    assert "complete" in found
    for link in (tree / "bin").iterdir():
        assert os.access(link, os.X_OK), link
    assert not list(tree.rglob("__pycache__"))


def test_installed_plots_find_the_installed_trainer(lab, tree):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    call(tree / "bin/trainer-plot", "runs/run", cwd=lab.dir, TRAINER="")
    assert list((lab.dir / "runs/run").rglob("*.png"))


def test_again_and_away(tmp_path):
    tree = install(tmp_path)
    other = tree / "bin/other"
    other.write_text("somebody else's")
    before = sorted(tree.rglob("*"))
    install(tmp_path)
    assert sorted(tree.rglob("*")) == before
    install(tmp_path, "--uninstall")
    assert [p for p in tree.rglob("*") if not p.is_dir()] == [other]
    install(tmp_path, code=2, prefix="here")


# ---- the library ----

@pytest.mark.skipif(INSTRUMENTED, reason="the library is built with sanitizers, or for coverage")
@pytest.mark.parametrize("ranks", [1, 2])
def test_the_library_trains_and_predicts(lab, tree, ranks):
    here = lab.dir / "library"
    flags = shlex.split(call("pkg-config", "--cflags", "--libs", "trainer", cwd=lab.dir,
                             PKG_CONFIG_PATH=str(tree / "lib/pkgconfig")))
    flags = [flag.replace("/usr/local", str(tree)) for flag in flags]
    call("mpicc", "-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", EXAMPLES / "library.c",
         *flags, "-o", here, cwd=lab.dir)
    launch = ["mpirun", "--quiet", "-np", str(ranks)] if ranks > 1 else []
    said = call(*launch, here, "run.ini", cwd=lab.dir)
    lab.run("run.ini", "run.name=one", "train.epochs=1").expect(0)
    steps = lab.out("one").table("steps")
    epoch = lab.out("one").table("epochs")[0]
    assert said.startswith(f"{len(steps)} steps: loss of the last batch {steps[-1]['loss']:.4f}; "
                           f"test loss {epoch['test_loss']:.4f}\n")
    assert said.count("test sample") == 5


# ---- the shell ----

def complete(tree, line, cwd):
    """What bash offers behind a line."""
    script = (f'source "{tree}/share/bash-completion/completions/trainer"; COMP_WORDBREAKS=$\' \\t\\n=\'; '
              f'COMP_LINE={shlex.quote(line)}; COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=($COMP_LINE); '
              '[[ $COMP_LINE != *" " ]] || COMP_WORDS+=(""); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); '
              'compopt() { :; }; _trainer; printf "%s\\n" "${COMPREPLY[@]}"')
    return call("bash", "-c", script, cwd=cwd).split()


@pytest.mark.parametrize("line, wanted", [
    ("trainer pre", ["predict"]),
    ("trainer run.i", ["run.ini"]),
    ("trainer run.ini optimizer.nes", ["optimizer.nesterov="]),
    ("trainer run.ini optimizer.name=ada", ["adam", "adamw", "adagrad"]),
    ("trainer run.ini optimizer.schedule=poly", ["polynomial"]),  # behind a line's end in the help
    ("trainer run.ini checkpoint.best=val_r", ["val_r2"]),
    ("trainer run.ini data.train=ru", ["run.ini", "runs"]),
    ("trainer predict --inp", ["--input"]),
    ("trainer help augm", ["augment", "augment.shift", "augment.rotate", "augment.scale", "augment.shear",
                           "augment.flip", "augment.elastic", "augment.elastic_sigma", "augment.erase"]),
])
def test_bash_completes(lab, tree, line, wanted):
    assert sorted(complete(tree, line, lab.dir)) == sorted(wanted)


def test_every_key_is_completed_and_in_the_manual(lab, tree):
    config = (lab.dir / "runs/run/config.ini").read_text()
    keys, section = [], ""
    for line in config.splitlines():
        section = line.strip("[]") if line.startswith("[") else section
        keys += [f"{section}.{line.split(' = ')[0].split(' =')[0]}="] if "=" in line else []
    assert len(keys) > 70 and sorted(set(complete(tree, "trainer run.ini ", lab.dir)) & set(keys)) == sorted(keys)
    page = (tree / "share/man/man1/trainer.1").read_text()
    for key in keys:
        assert f"\n.B {key.split('.', 1)[1][:-1]}\n" in page, key


def test_the_manual_has_no_warnings(tree):
    if not shutil.which("groff"):
        pytest.skip("groff is not installed")
    done = subprocess.run(["groff", "-man", "-ww", "-Tutf8", tree / "share/man/man1/trainer.1"], capture_output=True,
                          text=True, check=True)
    assert not done.stderr and "diverged" in done.stdout


def test_zsh_completes(lab, tree):
    """With zsh's own functions for offering words replaced by some that print them."""
    if not shutil.which("zsh"):
        pytest.skip("zsh is not installed")

    def offered(current, prefix, *words):
        script = ("compadd() { [[ $1 == -S ]] && shift 2; [[ $1 == -- ]] && shift; print -l -- ${(M)@:#$PREFIX*} }; "
                  "_files() { print FILES }; compset() { PREFIX=${PREFIX#*=} }; "
                  f"f() {{ source '{tree}/share/zsh/site-functions/_trainer' }}; CURRENT={current}; "
                  f"PREFIX={shlex.quote(prefix)}; words=({' '.join(words)}); f")
        return call("zsh", "-f", "-c", script, cwd=lab.dir).split()
    assert offered(2, "pre", "trainer", "pre") == ["predict", "FILES"]
    assert offered(3, "loss.name=h", "trainer", "run.ini", "loss.name=h") == ["huber"]
    assert offered(3, "data.train=x", "trainer", "run.ini", "data.train=x") == ["FILES"]
    assert "optimizer.nesterov" in offered(3, "optimizer.n", "trainer", "run.ini", "optimizer.n")


# ---- examples ----

@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("with_*")), ids=lambda path: path.stem)
def test_examples_read_the_metrics(lab, example):
    needs = {"with_pytables": ["tables"], "with_xarray": ["xarray", "h5netcdf"]}.get(
        example.stem, [example.stem.split("_")[1]])
    if example.suffix == ".R":
        if not shutil.which("Rscript") or "TRUE" not in call("Rscript", "-e", 'cat(requireNamespace("hdf5r"))',
                                                             cwd=lab.dir):
            pytest.skip("R with hdf5r is not installed")
        command = ["Rscript"]
    else:
        for name in needs:
            if not importlib.util.find_spec(name):
                pytest.skip(f"{name} is not installed")
        command = [sys.executable, "-W", "error::FutureWarning"]
    epoch, loss = json.loads(call(*command, example, "runs/run/metrics.h5", cwd=lab.dir))
    with h5py.File(lab.dir / "runs/run/metrics.h5") as file:
        rows = file["epochs"][:]
    best = rows[rows["train_loss"].argmin()]
    assert (epoch, loss) == (best["epoch"], best["train_loss"])

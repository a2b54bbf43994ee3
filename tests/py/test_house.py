"""The scripts around the trainer: getting data, the include check, the launcher, make's targets."""
import gzip
import hashlib
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from helpers import TRAINER

TOP = Path(__file__).resolve().parents[2]
NAMES = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", "train-images-idx3-ubyte",
         "train-labels-idx1-ubyte"]


def run(*command, cwd=TOP, **env):
    """Runs a command without the variables that could give it data; env adds some."""
    clean = {k: v for k, v in os.environ.items() if k not in ("MNIST_DIR", "TRAINER_MIRRORS")}
    return subprocess.run([str(c) for c in command], cwd=cwd, env={**clean, **env}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=100)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A small set with a get-data.sh that knows its sums: (the script, a folder with the files)."""
    top = tmp_path_factory.mktemp("toy")
    script = (TOP / "scripts/get-data.sh").read_text()
    (top / "files").mkdir()
    for number, name in enumerate(NAMES):
        content = hashlib.sha512(name.encode()).digest() * (4000 if number == 2 else 5)
        (top / "files" / (name + ".gz")).write_bytes(gzip.compress(content, 1))
        script, found = re.subn(name + r" [0-9a-f]{64}",
                                name + " " + hashlib.sha256(content).hexdigest(), script)
        assert found == 2
    (top / "get-data.sh").write_text(script)
    return top / "get-data.sh", top / "files"


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves a folder with ranges; `cut` bytes after which it hangs up, `junk` in place of files."""

    def do_GET(self):
        server = self.server
        server.seen.append((self.path, self.headers.get("Range")))
        path = server.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        body = b"junk" * 100 if server.junk else path.read_bytes()
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) if server.ranges else None
        start = int(asked[1]) if asked else 0
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        self.wfile.write(body[start:][:server.cut])

    def log_message(self, *args):
        pass


@pytest.fixture
def mirror(toy):
    servers = []

    def start(cut=None, junk=False, ranges=True, folder=toy[1]):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
        server.cut, server.junk, server.ranges, server.folder, server.seen = cut, junk, ranges, folder, []
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(params=["curl", "wget"])
def path_with(request, tmp_path):
    """A PATH on which only one of the two downloaders can be found."""
    for name in f"bash awk cat cp flock gzip mkdir mv paste rm sha256sum {request.param}".split():
        found = shutil.which(name)
        if not found:
            pytest.skip(f"no {name} here")
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).symlink_to(found)
    return str(tmp_path / "bin")


def whole(folder, toy):
    return all((folder / (n + ".gz")).is_file() and
               (folder / (n + ".gz")).read_bytes() == (toy[1] / (n + ".gz")).read_bytes()
               for n in NAMES) and not list(folder.glob("*.part"))


def test_data_comes_from_the_first_mirror_that_has_it(toy, mirror, tmp_path, path_with):
    dead, empty, good = "http://127.0.0.1:9", mirror(folder=tmp_path), mirror()
    out = run("bash", toy[0], "mnist", cwd=tmp_path, PATH=path_with,
              TRAINER_MIRRORS=f"{dead} {empty.url} {good.url}")
    assert out.returncode == 0, out.stderr
    assert out.stdout == "data/mnist\n"
    assert whole(tmp_path / "data/mnist", toy)
    assert out.stderr.count(f"from {dead}") == 1    # dropped once it could not be reached
    again = run("bash", toy[0], "mnist", cwd=tmp_path, PATH=path_with, TRAINER_MIRRORS=good.url)
    assert again.returncode == 0 and len(good.seen) == 4


def test_a_cut_off_download_goes_on_where_it_ended(toy, mirror, tmp_path, path_with):
    cut, good = mirror(cut=1000), mirror()
    first = run("bash", toy[0], "mnist", "d", cwd=tmp_path, PATH=path_with, TRAINER_MIRRORS=cut.url)
    assert first.returncode == 3
    assert not (tmp_path / "d" / (NAMES[2] + ".gz")).exists()
    assert (tmp_path / "d" / (NAMES[2] + ".gz.part")).stat().st_size == 1000
    second = run("bash", toy[0], "mnist", "d", cwd=tmp_path, PATH=path_with, TRAINER_MIRRORS=good.url)
    assert second.returncode == 0, second.stderr
    assert ("/" + NAMES[2] + ".gz", "bytes=1000-") in good.seen
    assert whole(tmp_path / "d", toy)


@pytest.mark.parametrize("ranges", [True, False])
def test_the_rest_of_another_file_is_not_glued_on(toy, mirror, tmp_path, path_with, ranges):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / (NAMES[2] + ".gz.part")).write_bytes(b"start of something else" * 10)
    good = mirror(ranges=ranges)
    out = run("bash", toy[0], "mnist", "d", cwd=tmp_path, PATH=path_with, TRAINER_MIRRORS=good.url)
    assert out.returncode == 0, out.stderr
    assert whole(tmp_path / "d", toy)


def test_a_wrong_file_never_gets_the_final_name(toy, mirror, tmp_path, path_with):
    bad = mirror(junk=True)
    out = run("bash", toy[0], "mnist", "d", cwd=tmp_path, PATH=path_with, TRAINER_MIRRORS=bad.url)
    assert out.returncode == 3
    assert "not the set's file" in out.stderr
    assert not list((tmp_path / "d").glob("*ubyte*"))
    assert out.stdout == ""


def test_two_starts_at_once_share_one_download(toy, mirror, tmp_path):
    good = mirror()
    env = {**os.environ, "TRAINER_MIRRORS": good.url}
    env.pop("MNIST_DIR", None)
    both = [subprocess.Popen(["bash", toy[0], "mnist", "d"], cwd=tmp_path, env=env,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in "ab"]
    assert [p.wait(60) for p in both] == [0, 0]
    assert whole(tmp_path / "d", toy) and len(good.seen) == 4


def test_a_damaged_file_is_replaced_and_kept(toy, mirror, tmp_path):
    for name in NAMES:
        (tmp_path / name).write_bytes(gzip.decompress((toy[1] / (name + ".gz")).read_bytes()))
    assert run("bash", toy[0], "--check", "mnist", tmp_path).returncode == 0
    with open(tmp_path / NAMES[2], "r+b") as file:
        file.seek(5000)
        file.write(b"\xff")
    assert run("bash", toy[0], "--check", "mnist", tmp_path).returncode == 3
    out = run("bash", toy[0], "mnist", tmp_path, MNIST_DIR=str(toy[1]), TRAINER_MIRRORS="")
    assert out.returncode == 0 and "is damaged" in out.stderr
    assert (tmp_path / (NAMES[2] + ".damaged")).exists() and not (tmp_path / NAMES[2]).exists()
    assert run("bash", toy[0], "--check", "mnist", tmp_path).stdout == f"{tmp_path}\n"


def test_a_complete_mnist_dir_is_used_where_it_is(toy, tmp_path):
    out = run("bash", toy[0], "mnist", cwd=tmp_path, MNIST_DIR=str(toy[1]), TRAINER_MIRRORS="")
    assert out.stdout == f"{toy[1]}\n" and not list(tmp_path.iterdir())


def house(tmp_path, path, text):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text)
    return run(sys.executable, TOP / "scripts/check-includes.py", tmp_path)


@pytest.mark.parametrize("path, line", [
    ("src/base/a.c", '#include "nn/layer.h"'),
    ("include/kernels/a.h", '#  include "comm/comm.h"'),
    ("src/nn/a.c", '#include "../run/train.h"'),
    ("src/nn/a.c", "#include <mpi.h>"),
    ("include/comm/comm.h", "#include <mpi.h>"),
    ("src/files/a.c", "#include <hdf5.h>"),
    ("src/files/a.c", '#include "H5Fpublic.h"'),
    ("src/nn/a.c", "    #pragma omp parallel for"),
    ("src/nn/a.c", '    _Pragma("omp simd")'),
    ("src/nn/a.h", "#include <omp.h>"),
    ("src/run/a.c", "#pragma omp barrier"),
    ("src/step/a.c", '#include "run/session.h"'),
    ("include/config/a.h", '#include "comm/comm.h"'),
    ("src/attic/a.c", ""),
])
def test_the_include_check_sees(tmp_path, path, line):
    out = house(tmp_path, path, line + "\n")
    assert out.returncode == 1 and path + ":1:" in out.stderr


@pytest.mark.parametrize("path, line", [
    ("src/step/a.c", '#include "nn/model.h"\n#pragma omp parallel'),
    ("src/run/a.c", '#include "step/step.h"'),
    ("src/comm/a.c", '#include <mpi.h>\n#include "comm/comm.h"\n#include "base/status.h"'),
    ("src/h5/a.c", "#include <hdf5.h>"),
    ("src/base/a.c", '/* not "nn/layer.h" */\n#include <stdio.h>'),
])
def test_the_include_check_lets_pass(tmp_path, path, line):
    assert house(tmp_path, path, line + "\n").returncode == 0


def test_the_launcher_passes_its_line_on(tmp_path):
    fake = tmp_path / "mpirun"
    fake.write_text('#!/bin/sh\necho "got $*"; env | grep ^OMPI_ | sort\nexit 7\n')
    fake.chmod(0o755)
    out = run(TOP / "scripts/run.sh", "-n", "5000", "c.ini", "run.name=a b",
              PATH=f"{tmp_path}:{os.environ['PATH']}", TRAINER="./t", OMPI_MCA_mpi_yield_when_idle="0")
    assert out.returncode == 7
    assert "got -np 5000 ./t c.ini run.name=a b\n" in out.stdout
    assert "OMPI_MCA_rmaps_base_oversubscribe=1\n" in out.stdout
    assert out.stdout.count("OMPI_MCA_mpi_yield_when_idle=0") == 2      # ours gives way
    assert run(TOP / "scripts/run.sh", "-n", "0", "c.ini").returncode == 2


def test_make_help_lists_the_targets():
    lines = run("make", "--no-print-directory", "help", MAKEFLAGS="").stdout.splitlines()
    assert " ".join(line.split()[0] for line in lines) == \
        "all run test check torture bench format lint info clean"
    assert all(len(line.split()) > 2 for line in lines)


# ---- what README.md shows ----

README = (TOP / "README.md").read_text()


def indented(begins):
    """The indented block of README.md whose first line begins so."""
    block = re.search(rf"^    {re.escape(begins)}.*(?:\n(?:    .*)?)*", README, re.M)
    return "\n".join(line[4:] for line in block[0].splitlines()) + "\n"


def test_the_readme_config_is_valid(tmp_path, data):
    (tmp_path / "mlp.ini").write_text(indented("[run]"))
    out = run(TRAINER, "check", "mlp.ini", f"data.dir={data}", "data.validation=100", cwd=tmp_path,
              OMP_NUM_THREADS="1", OMPI_MCA_hwloc_base_binding_policy="none")
    assert out.returncode == 0, out.stderr


def test_the_readme_snippets_run_on_the_readme_run(tmp_path, mnist):
    trained = run(TRAINER, TOP / "configs/mlp.ini", f"data.dir={mnist}", "data.limit=640",
                  "train.epochs=1", cwd=tmp_path, OMP_NUM_THREADS="1")
    assert trained.returncode == 0, trained.stderr
    snippets = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)
    assert len(snippets) == 2
    for snippet in snippets:
        if "import torch" in snippet:
            pytest.importorskip("torch", reason="PyTorch is not installed")
        out = run(sys.executable, "-c", snippet, cwd=tmp_path)
        assert out.returncode == 0, out.stderr
        assert ("complete 10 steps" in out.stdout) != ("grad_fn" in out.stdout)


def test_every_file_that_the_readme_names_is_there():
    for name in re.findall(r"\b(?:scripts|configs|tests)/[\w./-]*\w", README):
        assert (TOP / name).exists(), name

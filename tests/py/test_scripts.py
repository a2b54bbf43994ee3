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
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from helpers import TRAINER, assert_same_bits, environment

TOP = Path(__file__).resolve().parents[2]
NAMES = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", "train-images-idx3-ubyte",
         "train-labels-idx1-ubyte"]


def run(*command, cwd=TOP, timeout=100, **env):
    """Runs a command without the variables that could give it data; env adds some."""
    clean = {k: v for k, v in os.environ.items() if k not in ("MNIST_DIR", "TRAINER_MIRRORS")}
    return subprocess.run([str(c) for c in command], cwd=cwd, env={**clean, **env}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)


def passes(*command, **how):
    """run() of a command that must end with 0. -> its stdout"""
    done = run(*command, **how)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Small sets with a get-data.sh that knows their sums: (the script, a folder with the files of
    mnist, one with those of fashion-mnist)."""
    top = tmp_path_factory.mktemp("toy")
    script = (TOP / "scripts/get-data.sh").read_text()
    for set_name in ("mnist", "fashion-mnist"):
        (top / set_name).mkdir()
        for number, name in enumerate(NAMES):
            content = hashlib.sha512((set_name + name).encode()).digest() * (4000 if number == 2 else 5)
            (top / set_name / (name + ".gz")).write_bytes(gzip.compress(content, 1))
            script, found = re.subn(rf'(\n|")({set_name} {name}) [0-9a-f]{{64}}',
                                    rf"\1\2 {hashlib.sha256(content).hexdigest()}", script)
            assert found == 1
    (top / "get-data.sh").write_text(script)
    return top / "get-data.sh", top / "mnist", top / "fashion-mnist"


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
    with ExitStack() as stack:
        def start(cut=None, junk=False, ranges=True, folder=toy[1]):
            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror))
            server.cut, server.junk, server.ranges, server.folder, server.seen = cut, junk, ranges, folder, []
            server.url = f"http://127.0.0.1:{server.server_port}"
            threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
            stack.callback(server.shutdown)
            return server
        yield start


@pytest.fixture(params=["curl", "wget"])
def downloader(request, tmp_path, monkeypatch):
    """Only one of the two can be found."""
    (tmp_path / "bin").mkdir()
    for name in f"bash awk cat cp flock gzip mkdir mv paste rm sha256sum {request.param}".split():
        found = shutil.which(name)
        if not found:
            pytest.skip(f"no {name} here")
        (tmp_path / "bin" / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def get(toy, tmp_path):
    """get-data.sh in tmp_path, with mirrors only where the call names some, and what it must end with."""
    def call(*args, code=0, mirrors="", **env):
        out = run("bash", toy[0], *args, cwd=tmp_path, TRAINER_MIRRORS=mirrors, **env)
        assert out.returncode == code, out.stderr
        return out
    return call


def whole(folder, toy):
    return all((folder / (n + ".gz")).is_file() and
               (folder / (n + ".gz")).read_bytes() == (toy[1] / (n + ".gz")).read_bytes()
               for n in NAMES) and not list(folder.glob("*.part"))


def test_data_comes_from_the_first_mirror_that_has_it(toy, get, mirror, tmp_path, downloader):
    dead, empty, good = "http://127.0.0.1:9", mirror(folder=tmp_path), mirror()
    out = get("mnist", mirrors=f"{dead} {empty.url} {good.url}")
    assert out.stdout == "data/mnist\n" and whole(tmp_path / "data/mnist", toy)
    assert out.stderr.count(f"from {dead}") == 1    # dropped once it could not be reached
    get("mnist", mirrors=good.url)
    assert len(good.seen) == 4


def test_a_cut_off_download_goes_on_where_it_ended(toy, get, mirror, tmp_path, downloader):
    good = mirror()
    get("mnist", "d", mirrors=mirror(cut=1000).url, code=3)
    assert not (tmp_path / "d" / (NAMES[2] + ".gz")).exists()
    assert (tmp_path / "d" / (NAMES[2] + ".gz.part")).stat().st_size == 1000
    get("mnist", "d", mirrors=good.url)
    assert ("/" + NAMES[2] + ".gz", "bytes=1000-") in good.seen and whole(tmp_path / "d", toy)


@pytest.mark.parametrize("ranges", [True, False])
def test_the_rest_of_another_file_is_not_glued_on(toy, get, mirror, tmp_path, downloader, ranges):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / (NAMES[2] + ".gz.part")).write_bytes(b"start of something else" * 10)
    get("mnist", "d", mirrors=mirror(ranges=ranges).url)
    assert whole(tmp_path / "d", toy)


def test_a_wrong_file_never_gets_the_final_name(get, mirror, tmp_path, downloader):
    out = get("mnist", "d", mirrors=mirror(junk=True).url, code=3)
    assert "not the set's file" in out.stderr and out.stdout == ""
    assert not list((tmp_path / "d").glob("*ubyte*"))


def test_two_starts_at_once_share_one_download(toy, get, mirror, tmp_path):
    good = mirror()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: get("mnist", "d", mirrors=good.url), "ab"))
    assert whole(tmp_path / "d", toy) and len(good.seen) == 4


def test_a_damaged_file_is_replaced_and_kept(toy, get, tmp_path):
    for name in NAMES:
        (tmp_path / name).write_bytes(gzip.decompress((toy[1] / (name + ".gz")).read_bytes()))
    get("--check", "mnist", tmp_path)
    with open(tmp_path / NAMES[2], "r+b") as file:
        file.seek(5000)
        file.write(b"\xff")
    get("--check", "mnist", tmp_path, code=3)
    assert "is damaged" in get("mnist", tmp_path, MNIST_DIR=str(toy[1])).stderr
    assert (tmp_path / (NAMES[2] + ".damaged")).exists() and not (tmp_path / NAMES[2]).exists()
    assert get("--check", "mnist", tmp_path).stdout == f"{tmp_path}\n"


def test_a_complete_mnist_dir_is_linked_to_where_the_configs_look(toy, get, tmp_path):
    assert get("--check", "mnist", MNIST_DIR=str(toy[1])).stdout == f"{toy[1]}\n"
    assert not list(tmp_path.iterdir())
    os.symlink(toy[1], tmp_path / "here")
    (tmp_path / "data/mnist").mkdir(parents=True)  # links that lead nowhere are made anew
    (tmp_path / f"data/mnist/{NAMES[1]}.gz").symlink_to(tmp_path / "gone")
    assert get("mnist", MNIST_DIR="here").stdout == "data/mnist\n"
    assert whole(tmp_path / "data/mnist", toy)
    assert all((tmp_path / "data/mnist" / (name + ".gz")).is_symlink() for name in NAMES)
    assert get("mnist").stdout == "data/mnist\n"


def test_where_nothing_can_be_written_the_folder_to_train_from_is_told(toy, get, tmp_path):
    (tmp_path / "data").write_text("a file, so no folder can be made of it")
    out = get("mnist", MNIST_DIR=str(toy[1]))
    assert out.stdout == f"{toy[1]}\n" and f"data.dir={toy[1]}" in out.stderr


@pytest.mark.parametrize("fill, said", [("fashion", "holds files of fashion-mnist"),
                                        ("some", "holds files of fashion-mnist"),
                                        ("own", "holds files of another set")])
def test_the_folder_of_another_set_is_left_alone(toy, get, mirror, tmp_path, fill, said):
    for number, name in enumerate(NAMES):
        source = toy[1] if fill == "some" and number == 0 else toy[2]
        content = (source / f"{name}.gz").read_bytes()
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(b"my own") if fill == "own" else content)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    out = get("mnist", tmp_path, code=3, MNIST_DIR=str(toy[1]), mirrors=mirror().url)
    assert out.stdout == "" and said in out.stderr, out.stderr
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_what_readme_says_after_get_data_works_with_mnist_dir(tmp_path, mnist):
    (tmp_path / "configs").symlink_to(TOP / "configs")
    passes(TOP / "scripts/get-data.sh", "mnist", cwd=tmp_path, MNIST_DIR=str(mnist), TRAINER_MIRRORS="")
    passes(TRAINER, "check", "configs/softmax.ini", cwd=tmp_path)


# ---- Pythons ----

@pytest.mark.parametrize("script, words, said", [
    ("plot.py", ["none"], "none/checkpoints/last.h5 is missing"),
    pytest.param("plot_bench.py", ["none.csv"], "none.csv is not there", marks=pytest.mark.slow),
    pytest.param("scaling.py", ["none.csv"], "none.csv is not there", marks=pytest.mark.slow),
    pytest.param("sweep.py", ["status", "none"], "there is no such sweep", marks=pytest.mark.slow),
])
def test_a_script_runs_in_the_python_that_has_its_packages(tmp_path, script, words, said):
    needs = re.search(r'packages.need\((.*)\)', (TOP / "scripts" / script).read_text())[1]
    for name in re.findall(r'"(\w+)"', needs):
        pytest.importorskip(name)
    bare = run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare")
    if bare.returncode != 0:
        pytest.skip(f"no venv here: {bare.stderr}")
    python = tmp_path / "bare/bin/python"
    out = run(python, TOP / "scripts" / script, *words, cwd=tmp_path, PYTHON=sys.executable)
    assert f"{script}: {python} has no " in out.stderr, out.stderr
    assert f"; {sys.executable} has: it runs now\n" in out.stderr
    assert said in out.stderr and "Traceback" not in out.stderr


def test_where_no_python_has_the_packages_they_are_named(monkeypatch):
    monkeypatch.syspath_prepend(TOP / "scripts")
    import packages
    with pytest.raises(SystemExit) as told:
        packages.need("sys", "no_such_package")
    assert f"{sys.executable} has no no_such_package" in str(told.value)
    assert "python3-no_such_package" in str(told.value)


def check_includes(tmp_path, path, text):
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
    ("src/nn/a.c", "    T *p = calloc(1, sizeof *p);"),
    ("src/run/a.c", "char *copy = strdup(text), *more = realloc (copy, 9);"),
    ("include/nn/a.h", "static inline void *new(void) { return malloc(8); }"),
    ("src/cli/a.c", 'FILE *f = fopen(path, "r");'),
    ("src/config/a.c", "int fd = open(path, O_RDONLY | O_CLOEXEC);"),
    ("include/nn/a.h", "int dp_a_size(void);\n\n/** Something else. */\nvoid dp_b(void);"),
])
def test_the_include_check_sees(tmp_path, path, line):
    out = check_includes(tmp_path, path, line + "\n")
    assert out.returncode == 1 and path + ":1:" in out.stderr


@pytest.mark.parametrize("path, line", [
    ("src/step/a.c", '#include "nn/model.h"\n#pragma omp parallel'),
    ("src/run/a.c", '#include "step/step.h"'),
    ("src/comm/a.c", '#include <mpi.h>\n#include "comm/comm.h"\n#include "base/status.h"'),
    ("src/h5/a.c", "#include <hdf5.h>"),
    ("src/base/a.c", '/* not "nn/layer.h" */\n#include <stdio.h>'),
    ("include/nn/a.h", "/** A size. */\nint dp_a_size(void);\nvoid dp_a_destroy(void);\n\nvoid dp_c_destroy(void);"),
    ("src/base/a.c", "void *p = malloc(1);\nint fd = open(path, O_RDONLY);"),
    ("src/nn/a.c", '/* not malloc(1),\n nor "open(" */\nputs("calloc(1)"); // fopen(x)\nfree(p);'),
    ("src/files/a.c", "int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666); reopen(d);"),
])
def test_the_include_check_lets_pass(tmp_path, path, line):
    assert check_includes(tmp_path, path, line + "\n").returncode == 0


def test_the_include_check_sees_circles(tmp_path):
    """Of includes, and of calls: these by what was compiled, also through a third file."""
    for path, text in {"include/nn/a.h": '#include "nn/b.h"', "include/nn/b.h": '#include "nn/a.h"',
                       "src/nn/a.c": "int b(void); int a(void) { return b(); }",
                       "src/nn/b.c": "int c(void); int b(void) { return c(); }",
                       "src/run/c.c": "int a(void); int c(void) { return a(); }",
                       "src/run/d.c": "int a(void); int d(void) { return a(); }"}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text + "\n")
        if path.endswith(".c"):
            out = tmp_path / "build" / path.replace(".c", ".o")
            out.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["gcc", "-c", "-o", out, tmp_path / path], check=True)
    none = run(sys.executable, TOP / "scripts/check-includes.py", tmp_path, tmp_path)
    assert none.returncode == 1 and "nothing compiled there" in none.stderr
    out = run(sys.executable, TOP / "scripts/check-includes.py", tmp_path, tmp_path / "build/src")
    assert out.returncode == 1 and "6 files, 2 wrong" in out.stdout
    assert "include/nn/a.h, include/nn/b.h: a circle of 2 files\n" in out.stderr
    assert "src/nn/a.c, src/nn/b.c, src/run/c.c: a circle of 3 files\n" in out.stderr
    assert "    src/nn/b.c -> src/run/c.c: c\n" in out.stderr and "d.c" not in out.stderr


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


@pytest.mark.parametrize("group, files, most", [
    ("0::/", {"cpu.max": "max 100000"}, 64), ("0::/", {"cpu.max": "150000 100000"}, 2),
    ("0::/job/step", {"job/cpu.max": "300000 100000", "job/step/cpu.max": "max 100000"}, 3),
    ("3:cpu,cpuacct:/job/step", {"cpu/job/cpu.cfs_quota_us": "100000",
                                 "cpu/job/cpu.cfs_period_us": "50000",
                                 "cpu/job/step/cpu.cfs_quota_us": "-1",
                                 "cpu/job/step/cpu.cfs_period_us": "50000"}, 2)])
def test_the_launcher_counts_what_groups_allow(tmp_path, group, files, most):
    """`most` on a machine of 64 cores."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(f"9:cpuset:/other\n{group}\n")
    for name, text in files.items():
        file = tmp_path / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    done = run("bash", "-euc", "nproc() { echo 64; }; . scripts/mpi-env.sh; cores",
               CGROUP_ROOT=str(tmp_path))
    assert (done.stdout, done.stderr) == (f"{most}\n", ""), done


def test_make_help_lists_the_targets():
    lines = run("make", "--no-print-directory", "help", MAKEFLAGS="").stdout.splitlines()
    assert " ".join(line.split()[0] for line in lines) == \
        "all run test check coverage torture soak mutants tsan portability fuzz bench bench-check man install " \
        "uninstall format lint info clean"
    assert all(len(line.split()) > 2 for line in lines)


def test_a_name_picks_the_tests(tmp_path):
    build = tmp_path / "build"
    (build / "tests/unit").mkdir(parents=True)
    (build / "trainer").touch()
    for name, text in [("build/tests/unit/test_tree", "echo 'Tested: 7 | Passing: 7 | Failing: 0 | Crashing: 0'"),
                       ("python", 'echo "$@" >&2; echo "2 passed, 9 deselected"')]:
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    picked = run("tests/run.sh", "quick", "tree", BUILD=str(build), PYTHON=str(tmp_path / "python"))
    assert picked.returncode == 0, picked.stdout
    assert "tests: 9 passed, 0 failed" in picked.stdout and "test_csv" not in picked.stdout
    assert "-k tree" in picked.stdout
    (tmp_path / "python").write_text('#!/bin/sh\necho "9 deselected"; exit 5\n')
    none = run("tests/run.sh", "quick", "no_such", BUILD=str(build), PYTHON=str(tmp_path / "python"))
    assert none.returncode == 1 and "no quick test's name contains 'no_such'" in none.stderr


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_chosen_compiler_compiles_and_mpi_is_found(tmp_path, compiler):
    lines = run("make", "-nB", "V=1", f"CC={compiler}", f"BUILD={tmp_path}", f"{tmp_path}/trainer",
                MAKEFLAGS="").stdout.splitlines()
    for source, program in (("comm/comm", "mpicc"), ("base/tree", compiler),
                            ("kernels/set", compiler)):
        found = [line.split()[0] for line in lines if f" src/{source}.c" in line and " -c " in line]
        assert found and set(found) == {program}, (source, found)
    wrapped = run("make", "--no-print-directory", "--eval=show: ; @mpicc --showme:command", "show",
                  f"CC={compiler}", MAKEFLAGS="").stdout
    assert wrapped == compiler + "\n" or "showme" in wrapped, wrapped


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("clang"), reason="clang is not installed")
def test_clang_builds_without_a_warning_and_trains_the_same_bits(lab):
    built = run("make", f"-j{len(os.sched_getaffinity(0))}", "CC=clang", f"BUILD={lab.dir}/build",
                f"{lab.dir}/build/trainer", timeout=400, MAKEFLAGS="")
    assert built.returncode == 0 and built.stderr == "", built.stderr
    lab.config(model__layers="dense:24 relu dense:17 tanh", optimizer__name="adam",
               optimizer__lr=0.01)
    lab.run("run.ini").expect(0)
    for ranks, threads in ((1, 1), (1, 2), (2, 1)):
        name = f"clang{ranks}{threads}"
        launch = ["mpirun", "-np", ranks] if ranks > 1 else []
        passes(*launch, lab.dir / "build/trainer", "run.ini", f"run.name={name}",
               f"parallel.threads={threads}", cwd=lab.dir, **environment(ranks == 1))
        assert_same_bits(lab.out(name).bits(), lab.out().bits(), f"{ranks} x {threads}, clang")


# ---- what README.md, and those of the folders, show ----

README = (TOP / "README.md").read_text()
READMES = {folder: (TOP / folder / "README.md").read_text()
           for folder in ("", "src", "configs", "scripts", "tests")}


def indented(begins):
    """The indented block of README.md whose first line begins so."""
    block = re.search(rf"^    {re.escape(begins)}.*(?:\n(?:    .*)?)*", README, re.M)
    return "\n".join(line[4:] for line in block[0].splitlines()) + "\n"


def test_the_readme_config_is_valid(tmp_path, data):
    (tmp_path / "mlp.ini").write_text(indented("[run]"))
    passes(TRAINER, "check", "mlp.ini", f"data.dir={data}", "data.validation=100", cwd=tmp_path,
           OMP_NUM_THREADS="1", OMPI_MCA_hwloc_base_binding_policy="none")


def test_the_readme_snippets_run_on_the_readme_run(tmp_path, mnist):
    passes(TRAINER, TOP / "configs/mlp.ini", f"data.dir={mnist}", "data.limit=640", "train.epochs=1",
           cwd=tmp_path, OMP_NUM_THREADS="1")
    snippets = re.findall(r"^```python\n(.*?)^```$", README + READMES["scripts"], re.M | re.S)
    shows = {"metrics.attrs": "complete 10 steps", "realpath": "step-00000010.h5 10", "torch": "grad_fn"}
    assert len(snippets) == len(shows)
    for part, shown in shows.items():
        [snippet] = [s for s in snippets if part in s]
        if "import torch" in snippet:
            pytest.importorskip("torch", reason="PyTorch is not installed")
        assert shown in passes(sys.executable, "-c", snippet, cwd=tmp_path)


def test_the_readme_opens_a_checkpoint_while_the_links_switch(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    code = re.search(r"^def open_checkpoint.*?(?=^\w)", READMES["scripts"], re.M | re.S)[0]
    names = {"os": os, "h5py": h5py}
    exec(code, names)
    for step in (1, 2):
        with h5py.File(tmp_path / f"step-{step}.h5", "w") as file:
            file.attrs["step"] = step
    link, real = tmp_path / "last.h5", os.path.realpath
    link.symlink_to("step-1.h5")

    def switch(path):  # the run goes on just after the link was read
        found = real(path)
        if (tmp_path / "step-1.h5").exists():
            link.unlink()
            link.symlink_to("step-2.h5")
            (tmp_path / "step-1.h5").unlink()
        return found
    monkeypatch.setattr(os.path, "realpath", switch)
    with names["open_checkpoint"](link) as file:
        assert file.attrs["step"] == 2 and file.filename.endswith("step-2.h5")
    (tmp_path / "step-2.h5").unlink()
    with pytest.raises(FileNotFoundError):
        names["open_checkpoint"](link)


def test_the_readme_for_users_is_short():
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("folder", READMES, ids=lambda folder: folder or "top")
def test_every_file_that_a_readme_names_is_there(folder):
    """Paths start at the top, in the README's folder or, for the code, in src/; a name alone is a file
    beside one that was named before it."""
    text = READMES[folder]
    known = {file.name for top in ("src", "include", "tests", "scripts") for file in (TOP / top).rglob("*")}
    named = re.findall(r"(?<![\w/])(?:include|src|scripts|configs|tests)/[\w./-]*\w(?![\w<])", text)
    named += re.findall(r"`([\w./-]+\.(?:c|h|py|sh|ini|md|sbatch))`", text)
    assert named
    for name in named:
        places = [TOP / name, TOP / folder / name, TOP / "src" / name]
        assert any(place.exists() for place in places) or "/" not in name and name in known, name


@pytest.mark.parametrize("folder", READMES, ids=lambda folder: folder or "top")
def test_every_name_that_a_readme_takes_from_code_config_and_make_is_there(folder):
    text = re.sub(r"^```python\n.*?^```$", "", READMES[folder], flags=re.M | re.S)
    code = "".join(file.read_text() for top in ("src", "include") for file in (TOP / top).rglob("*.[ch]"))
    for name in re.findall(r"\bdp_\w+", text):
        assert re.search(rf"\b{name}\b", code), name
    keys = set(re.findall(r"{KEY\((\w+), (\w+), \w+\)", (TOP / "src/config/keys.c").read_text()))
    sections = "|".join(sorted({section for section, _ in keys}))
    for section, key in re.findall(rf"(?<![\w/.-])({sections})\.(\w+)(?![\w(])", text):
        assert (section, key) in keys or key in ("c", "h", "h5", "sh", "ini", "lock"), f"{section}.{key}"
    makefile = (TOP / "Makefile").read_text()
    for target in re.findall(r"(?:^    (?:[A-Z]+=\S+ )*|`(?:[A-Z]+=\S+ )*)make ([a-z-]+)", text, re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_a_readme_describes_each_folder_of_the_code():
    folders = {path.name for path in (TOP / "src").iterdir() if path.is_dir()}
    assert set(re.findall(r"^\| \d \| `(\w+)` \|", READMES["src"], re.M)) == folders


def test_the_sweep_of_the_scripts_readme_is_valid(tmp_path):
    block = re.search(r"^    \[sweep\]\n    config.*?\n(?=\S)", READMES["scripts"], re.M | re.S)[0]
    (tmp_path / "spec.ini").write_text(re.sub("^    ", "", block, flags=re.M).replace(
        "configs/mlp.ini", str(TOP / "configs/mlp.ini")))
    pytest.importorskip("optuna", reason="Optuna is not installed")
    passes(sys.executable, TOP / "scripts/sweep.py", "run", "spec.ini", "--dry-run", cwd=tmp_path,
           TRAINER=str(TRAINER))


def test_the_first_lesson_of_the_configs_readme(tmp_path):
    lesson = re.search(r"^    \$ ./trainer configs/linear.ini\n(.*?)\n\n", READMES["configs"], re.M | re.S)[1]
    commands = re.findall(r"^    \$ (.*)", lesson, re.M)
    shown = [line.strip() for line in lesson.splitlines() if not line.startswith("    $ ")]
    (tmp_path / "configs").symlink_to(TOP / "configs")
    passes(TRAINER, "configs/linear.ini", cwd=tmp_path)
    (tmp_path / "trainer").symlink_to(TRAINER)
    out = passes("sh", "-ec", "\n".join(commands), cwd=tmp_path)
    assert [line.strip() for line in out.splitlines()] == shown

"""make fuzz: a short run of each target."""

import os
import random
import re
import shutil
import subprocess
import sys

import pytest

from helpers import REPO

sys.path.insert(0, str(REPO / "tests/fuzz"))
import structured  # noqa: E402


def no_fuzzer():
    """Why there is none here, or ""."""
    if not shutil.which("clang"):
        return "clang is not installed"
    said = subprocess.run(["clang", "-print-file-name=libclang_rt.fuzzer-x86_64.a"], text=True,
                          stdout=subprocess.PIPE, check=False).stdout.strip()
    return "" if os.path.isabs(said) else "clang's libFuzzer is not installed"


@pytest.mark.slow
@pytest.mark.skipif(bool(no_fuzzer()), reason=no_fuzzer())
def test_no_parser_has_a_finding():
    done = subprocess.run(["make", "fuzz", "T=2"], cwd=REPO, text=True, capture_output=True, check=False,
                          timeout=900, env={k: v for k, v in os.environ.items() if k not in ("CC", "MAKEFLAGS")})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("DONE") == 7 and "fuzz: no finding\n" in done.stdout


@pytest.mark.slow
def test_changed_checkpoints_are_read_or_refused(tmp_path):
    tried, seen, findings = structured.fuzz(tmp_path, 20, 60, seed=3)
    assert tried >= 10 and not findings, findings
    assert seen["eval", 0] > 0 and seen["eval", 4] > 0


@pytest.mark.parametrize("script, says", [("kill -11 $$", "exit code -11"), ("exit 4", "exit code 4"),
                                          ("echo ERROR: AddressSanitizer >&2; exit 4", "Sanitizer")])
def test_a_crash_and_an_error_without_a_word_are_findings(tmp_path, monkeypatch, script, says):
    (tmp_path / "trainer").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "trainer").chmod(0o755)
    monkeypatch.setattr(structured.helpers, "TRAINER", tmp_path / "trainer")
    _, _, findings = structured.fuzz(tmp_path, 1, 60, seed=3)
    assert len(findings) == 1 and says in findings[0]


WORDS = ["", "0", "-1", "1e999", "nan", "inf", "int", "log", "choice", "uniform", "grid", "random", "tpe", "1",
         "99999999999999999999",
         "=", "[", "]", "[space]", "[sweep]", "[slurm]", "'", '"', "\\", "%", "${x}", "\u00e9", "\0",
         "x" * 5000, ";", "#", ":",
         "train.epochs", "run.seed", "run.name", "lr", "step", "if", "..", "1 2", "2 1", "0.1 0.1", "a b c"]


def test_a_sweeps_spec_is_taken_or_refused(tmp_path):
    """Words of specs are changed, put in and taken out at random; whatever comes of it, there is no other error."""
    sys.path.insert(0, str(REPO / "scripts"))
    from sweeplib.spec import SweepError, read_spec
    texts = [path.read_text() for path in sorted((REPO / "configs").glob("sweep*.ini"))]
    rng, path, taken, refused = random.Random(5), tmp_path / "s.ini", 0, 0
    for _ in range(2000):
        parts = re.split(r"(\s+|=|,)", rng.choice(texts))
        for _ in range(rng.choice([1, 1, 2, 4])):
            at = rng.randrange(len(parts))
            parts[at:at + rng.choice([0, 1, 1, 3])] = rng.choices(WORDS, k=rng.choice([0, 1, 1, 2]))
        path.write_bytes("".join(parts).encode())
        try:
            read_spec(path)
            taken += 1
        except SweepError as error:
            assert "\n" not in str(error) and str(path) in str(error)
            refused += 1
    assert taken > 200 and refused > 200

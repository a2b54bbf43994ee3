"""make fuzz: a short run of each target."""

import os
import shutil
import subprocess

import pytest

from helpers import REPO


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

#!/usr/bin/env python3
"""Changes the code in random places, one at a time, and sees whether the quick tests notice: `make mutants N=200`.

A mutant is one file of src/ with an operator swapped (< and <=, == and !=, + and -, && and ||) or a statement left
out. It is built and tested in a copy of the tree; what no test fails on has survived, and is printed with its line.
What does not compile, or gives the same machine code, is none, and another place is drawn."""

import argparse
import collections
import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
SWAPS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "+": "-", "-": "+", "&&": "||",
         "||": "&&", "+=": "-=", "*": "+"}
HIDDEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|^[ \t]*#.*?(?<!\\)$', re.S | re.M)
OPERATOR = re.compile(r"(?<= )(<=|>=|==|!=|&&|\|\||\+=|<|>|\+|-|\*)(?= )")
STATEMENT = re.compile(r"^ +(?!return|break|continue|goto|case|static|const|typedef|assert|dp_log|dp_warn)"
                       r"(?:[\w.>\[\]*()-]+ [-+|&^]?= [^;{}]*|\w+\([^;{}]*\));$", re.M)


def places(text):
    """[(begin, end, what stands there instead)]; comments, texts and directives are left alone."""
    code = HIDDEN.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)
    found = [(m.start(), m.end(), SWAPS[m[0]]) for m in OPERATOR.finditer(code)
             if "assert(" not in code[code.rfind("\n", 0, m.start()):m.start()]]
    found += [(m.start() + len(m[0]) - len(m[0].lstrip()), m.end(), ";") for m in STATEMENT.finditer(code)
              if not re.match(r" +(\w+ )+\**\w+ = ", m[0])]  # a declaration is no statement
    return found


def run(command, folder, seconds, **env):
    """Whether it ends well, in time; what it has started is ended with it."""
    child = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                             stdin=subprocess.DEVNULL, start_new_session=True, env={**os.environ, **env})
    try:
        return child.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()


def tests(folder):
    """The name of the first part that fails, or None."""
    trainer = {"TRAINER": str(folder / "build/trainer"), "MAKEFLAGS": ""}
    for unit in sorted((folder / "build/tests/unit").iterdir()):
        if unit.suffix == "" and os.access(unit, os.X_OK) and not run([unit], folder, 120):
            return unit.name
    for ranks in (1, 2, 3):
        if not run(["bash", "-c", f". scripts/mpi-env.sh; mpi_env {ranks}; exec mpirun -np {ranks} "
                    "build/tests/mpi/exchange"], folder, 60):
            return "exchange"
    for part in ("test_bits or test_train or test_files", "not (test_bits or test_train or test_files)"):
        if not run([os.environ.get("PYTHON", sys.executable), "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
                    "-m", "not slow", "-k", part, "tests/py"], folder, 900, **trainer):
            return "pytest"
    return None


def build(folder):
    return run(["make", "-s", f"-j{os.cpu_count()}", "test-programs"], folder, 600, MAKEFLAGS="")


def code_of(folder):
    """Of the program, without what says which commit it is."""
    sections = folder / "build/code"
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", folder / "build/trainer", sections], check=True)
    return hashlib.sha256(sections.read_bytes()).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    folder = TOP / "build/mutants"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["git", "clone", "-q", TOP, folder], check=True)
    if not build(folder) or (failed := tests(folder)):
        sys.exit(f"the tests fail as it is: {failed}")
    plain, rng, counts, survivors = code_of(folder), random.Random(args.seed), collections.Counter(), []
    files = {path: path.read_text() for path in sorted((folder / "src").glob("*/*.c"))}
    spots = [(path, spot) for path, text in files.items() for spot in places(text)]
    print(f"{len(spots)} places in {len(files)} files", flush=True)
    while sum(counts.values()) < args.n and spots:
        path, (begin, end, instead) = spots.pop(rng.randrange(len(spots)))
        text = files[path]
        path.write_text(text[:begin] + instead + text[end:])
        line = f"{path.relative_to(folder)}:{text.count(chr(10), 0, begin) + 1}: {text[begin:end]!r} -> {instead!r}"
        try:
            if not build(folder) or code_of(folder) == plain:
                continue
            caught = tests(folder)
        finally:
            path.write_text(text)
        counts["caught" if caught else "survived"] += 1
        survivors += [] if caught else [line]
        print(f"{caught or 'SURVIVED':22s} {line}", flush=True)
    print(f"{counts['caught']} of {sum(counts.values())} mutants are caught")
    print("\n".join(f"survived: {line}" for line in survivors))


if __name__ == "__main__":
    main()

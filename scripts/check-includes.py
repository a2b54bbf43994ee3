#!/usr/bin/env python3
"""Fails on an include that points upward, and on hdf5.h, mpi.h or OpenMP outside their module.

usage: scripts/check-includes.py [ROOT]    (ROOT holds src/ and include/; default: this project)
"""
import re
import sys
from pathlib import Path

FLOORS = [["base"], ["config"], ["comm", "h5", "kernels"], ["nn", "data", "files"], ["step"],
          ["run"], ["cli"]]
FLOOR = {folder: number for number, folders in enumerate(FLOORS) for folder in folders}

# What only some folders may use: pattern, the folders' places, what to do instead.
HOMES = [
    (re.compile(r'include\s*[<"](hdf5|hdf5_hl|H5\w*)\.h[>"]'), ["src/h5"], "use h5/h5file.h"),
    (re.compile(r'include\s*[<"]mpi\.h[>"]'), ["src/comm"], "use comm/comm.h"),
    (re.compile(r'include\s*[<"]omp\.h[>"]|pragma\s+omp\b'), ["src/kernels", "src/step", "include/step"],
     "threads belong to the kernels and the step"),
]
DIRECTIVE = re.compile(r"^\s*#\s*((?:include|pragma)\b.*)|_Pragma\s*\(\s*\"(.*?)\"")
QUOTED = re.compile(r'include\s*"([^"]+)"')


def complaints(root, file):
    """Yields (line number, what is wrong) for one file of src/ or include/."""
    place = file.relative_to(root).parts
    folder = place[1] if len(place) > 2 else ""
    if folder not in FLOOR:
        yield 1, f"folder '{folder}' has no floor: give it one in scripts/check-includes.py"
        return
    for number, line in enumerate(file.read_text().splitlines(), 1):
        match = DIRECTIVE.search(line)
        if not match:
            continue
        directive = match[1] or "pragma " + match[2]
        for pattern, homes, instead in HOMES:
            if pattern.search(directive) and "/".join(place[:2]) not in homes:
                yield number, f"'{directive.strip()}' only in {' and '.join(homes)}: {instead}"
        quoted = QUOTED.match(directive)
        if not quoted or "/" not in quoted[1] and (file.parent / quoted[1]).is_file():
            continue
        target = quoted[1].split("/")[0]
        if target not in FLOOR:
            yield number, f"\"{quoted[1]}\" names no folder with a floor"
        elif target != folder and FLOOR[target] >= FLOOR[folder]:
            yield number, (f"\"{quoted[1]}\" (floor {FLOOR[target]}) from floor {FLOOR[folder]}: "
                           "includes point downward only")


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent)
    files = sorted(f for top in ("src", "include") for f in (root / top).rglob("*.[ch]"))
    bad = [f"{file.relative_to(root)}:{number}: {what}"
           for file in files for number, what in complaints(root, file)]
    print(*bad, sep="\n", end="\n" if bad else "", file=sys.stderr)
    print(f"includes: {len(files)} files, {len(bad)} wrong")
    return bool(bad) or not files


if __name__ == "__main__":
    sys.exit(main())

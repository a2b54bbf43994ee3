#!/usr/bin/env python3
"""Fails on an include that points upward, on files that include or call each other in a circle, on
hdf5.h, mpi.h or OpenMP outside their module, and on calls that only base makes: for memory and for
files to read, and on public functions without a doc comment.

usage: scripts/check-includes.py [ROOT [OBJECTS]]

ROOT holds src/ and include/ (default: this project). OBJECTS holds what src/ was compiled to, as
build/src: nm says which file calls which (not looked at where it isn't named).
"""
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

FLOORS = [["base"], ["config"], ["comm", "h5", "kernels"], ["nn", "data", "files"], ["step"],
          ["run"], ["cli"]]
FLOOR = {folder: number for number, folders in enumerate(FLOORS) for folder in folders}

# What only some folders may use: pattern, the folders' places, what to do instead.
HOMES = [
    (re.compile(r'include\s*[<"](hdf5|hdf5_hl|H5\w*)\.h[>"]'), ["src/h5"], "use h5/h5file.h"),
    (re.compile(r'include\s*[<"]mpi\.h[>"]'), ["src/comm"], "use comm/comm.h"),
    (re.compile(r'include\s*[<"]omp\.h[>"]|pragma\s+omp\b'), ["src/step", "src/comm"],
     "threads belong to step/team.h, the cores that they may use to src/comm"),
]
# Functions that only these folders call. What they leave to their callers to check has been forgotten
# before: a rank that returned early while the others waited for it, a pipe that was read for ever.
CALLS = [
    (re.compile(r"\b(malloc|calloc|realloc|reallocarray|aligned_alloc|posix_memalign|alloca|"
                r"strn?dup|v?asprintf|getline|getdelim|open_memstream)\s*\("),
     ["src/base"], "use base/memory.h"),
    (re.compile(r"\b(fopen|freopen|gzopen|popen)\s*\("), ["src/base", "src/comm"],
     "use base/open.h"),
    # What is written, a folder to sync, and the lock file are opened where they are used.
    (re.compile(r"\bopen\s*\((?!.*\b(O_CREAT|O_WRONLY|O_DIRECTORY|O_NOFOLLOW)\b)"), ["src/base"], "use base/open.h"),
]
TEXT = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)
DIRECTIVE = re.compile(r"^\s*#\s*((?:include|pragma)\b.*)|_Pragma\s*\(\s*\"(.*?)\"")
DECLARED = re.compile(r"^(?!typedef|static|#|\s|/|\*)[\w \*]+\b(dp_\w+)\s*\(", re.MULTILINE)
QUOTED = re.compile(r'include\s*"([^"]+)"')


def calls(place, text):
    """Yields (line number, what is wrong) for calls that are another folder's."""
    code = TEXT.sub(lambda match: "\n" * match[0].count("\n"), text)
    for number, line in enumerate(code.splitlines(), 1):
        for pattern, homes, instead in CALLS:
            match = pattern.search(line)
            if match and "/".join(place[:2]) not in homes:
                yield number, f"{match[1] or 'open'} only in {' and '.join(homes)}: {instead}"


def undocumented(text):
    """Yields (line number, what is wrong) for groups of public functions without a comment before them."""
    at = 1
    for group in re.split(r"(\n\s*\n)", text):
        match = DECLARED.search(group)
        if match and "/**" not in group[:match.start()] and not match[1].endswith("_destroy"):
            yield at + group[:match.start()].count("\n"), \
                f"{match[1]} has no comment: say shapes, units, errors, owner and who calls it"
        at += group.count("\n")


def complaints(root, file):
    """Yields (line number, what is wrong) for one file of src/ or include/."""
    place = file.relative_to(root).parts
    folder = place[1] if len(place) > 2 else ""
    if folder not in FLOOR:
        yield 1, f"folder '{folder}' has no floor: give it one in scripts/check-includes.py"
        return
    text = file.read_text()
    yield from calls(place, text)
    if place[0] == "include":
        yield from undocumented(text)
    for number, line in enumerate(text.splitlines(), 1):
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


def include_graph(root, files):
    """{file: {file that it includes: ["#include ..."]}}"""
    graph = defaultdict(dict)
    for file in files:
        for match in re.finditer(r'^\s*#\s*include\s*"([^"]+)"', file.read_text(), re.MULTILINE):
            for target in (file.parent / match[1], root / "include" / match[1]):
                if target.is_file():
                    graph[file.relative_to(root)][target.relative_to(root)] = [match[0].strip()]
    return graph


def call_graph(root, objects):
    """{file: {file that it needs: [its functions and tables]}}, by the objects' symbols."""
    compiled = sorted(objects.glob("*/*.o"))
    if not compiled:
        sys.exit(f"{objects}: nothing compiled there; run make first")
    out = subprocess.run(["nm", "-A", "-gP", *compiled], check=True, capture_output=True,
                         text=True).stdout
    defined, needed = {}, defaultdict(set)
    for path, name, kind in re.findall(r"^(.+): (\S+) (\w)", out, re.MULTILINE):
        # The kernels are one source, compiled for each instruction set.
        file = Path("src", Path(path).parent.name, re.sub(r"^set_\w+", "set", Path(path).stem) + ".c")
        if not (root / file).is_file():     # any more
            continue
        if kind == "U":
            needed[file].add(name)
        else:
            defined[name] = file
    graph = defaultdict(dict)
    for file, names in needed.items():
        for name in sorted(names & defined.keys()):
            graph[file].setdefault(defined[name], []).append(name)
    return graph


def circles(graph):
    """Yields the largest sets of more than one node in which each reaches every other."""
    def reached(start):
        seen, todo = set(), [start]
        while todo:
            new = graph[todo.pop()].keys() - seen
            seen |= new
            todo += new
        return seen
    reach = {node: reached(node) for node in list(graph)}
    done = set()
    for node in sorted(reach):
        circle = {other for other in reach[node] if node in reach.get(other, ())} | {node}
        if len(circle) > 1 and node not in done:
            done |= circle
            yield circle


def show_circle(graph, circle):
    yield f"{', '.join(map(str, sorted(circle)))}: a circle of {len(circle)} files"
    for file in sorted(circle):
        for target in sorted(graph[file].keys() & circle - {file}):
            yield f"    {file} -> {target}: {', '.join(graph[file][target])}"


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent)
    files = sorted(f for top in ("src", "include") for f in (root / top).rglob("*.[ch]"))
    bad = [f"{file.relative_to(root)}:{number}: {what}"
           for file in files for number, what in complaints(root, file)]
    graphs = [include_graph(root, files)] + [call_graph(root, Path(o)) for o in sys.argv[2:]]
    for graph in graphs:
        bad += ["\n".join(show_circle(graph, circle)) for circle in circles(graph)]
    print(*bad, sep="\n", end="\n" if bad else "", file=sys.stderr)
    print(f"includes: {len(files)} files, {len(bad)} wrong")
    return bool(bad) or not files


if __name__ == "__main__":
    sys.exit(main())

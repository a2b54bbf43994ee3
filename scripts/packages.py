"""Finds a Python that has a script's packages: where there are several (the system's, a virtual
environment, conda, pyenv), `python3` may be one without them."""

import importlib
import os
import subprocess
import sys
from pathlib import Path


def lacking(names):
    """Those that this Python cannot import."""
    found = []
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            found.append(name)
    return found


def others():
    """The other Pythons here: $PYTHON, the system's, and each python3 on PATH."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    paths = [os.environ.get("PYTHON", ""), "/usr/bin/python3",
             *(os.path.join(folder, "python3") for folder in folders if folder)]
    return [path for path in dict.fromkeys(paths)
            if os.access(path, os.X_OK) and path != sys.executable]


def has(python, names):
    done = subprocess.run([python, "-c", f"import {', '.join(names)}"], check=False,
                          stdin=subprocess.DEVNULL, capture_output=True)
    return done.returncode == 0


def need(*names):
    """For scripts, before they import these packages: returns where this Python has them all, else
    starts the script anew in one that has. Ends the program where there is none."""
    if not (missing := lacking(names)):
        return
    program = Path(sys.argv[0]).name
    here = f"{program}: {sys.executable} has no {', '.join(missing)}"
    for python in others():
        if has(python, names):
            print(f"{here}; {python} has: it runs now", file=sys.stderr)
            sys.stderr.flush()
            os.execv(python, [python, *sys.argv])
    packages = " ".join(f"python3-{name}" for name in names)
    tried = f", and neither has another Python here ({', '.join(others())}) all it needs"
    sys.exit(f"{here}{tried if others() else ''}: install {packages} for /usr/bin/python3 "
             f"(scripts/install-deps.sh --all), or set PYTHON to a Python that has them")

#!/usr/bin/env bash
# Installs what the build, the tests and the scripts need and this machine lacks, through apt.
# Where all is there it says nothing and changes nothing.
set -euo pipefail

usage() {
    cat <<'END'
usage: scripts/install-deps.sh [--lint] [--all] [--help] [PACKAGE...]

Looks for the compiler, MPI, HDF5 and the other things that trainer needs, and installs the
Debian or Ubuntu packages of those that are missing (as root, or through sudo).
  --lint      also what `make lint` and `make format` need
  --all       also what the plots, the sweeps and every test can use: matplotlib, Optuna, PyTorch,
              a Slurm, Fashion-MNIST (about 1 GB); tests that lack theirs are skipped, which
              `make test` says at its end
  PACKAGE     also these packages, by name
Environment: PYTHON  the Python that scripts and tests use (default /usr/bin/python3)
END
}

PATH=$PATH:/usr/sbin:/sbin # daemons and tc lie there, for everybody
python=${PYTHON:-/usr/bin/python3}
lint='' all=''
named=()
for arg in "$@"; do
    case $arg in
    --lint) lint=1 ;;
    --all) all=1 ;;
    --help | -h) usage; exit 0 ;;
    -*) usage >&2; exit 2 ;;
    *) named+=("$arg") ;;
    esac
done

# Probes ask for the thing, not for the package: a compiler or an MPI from elsewhere is fine.
program() { command -v "$1" >/dev/null; }
either() { program "$1" || program "$2"; }
header() { echo "#include <$1>" | ${CC:-gcc} -E -o /dev/null - 2>/dev/null; }
hdf5() { pkg-config --exists hdf5-serial 2>/dev/null || pkg-config --exists hdf5 2>/dev/null; }
module() { "$python" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$1') is None)" 2>/dev/null; }
package() { dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

missing=()
need() {
    local name=$1
    shift
    "$@" || missing+=("$name")
}

look() {
    missing=()
    need gcc program gcc
    need libc6-dev header stdio.h
    need make program make
    need pkg-config program pkg-config
    need openmpi-bin program mpirun
    need libopenmpi-dev program mpicc
    need libhdf5-dev hdf5
    need libinih-dev header ini.h
    need zlib1g-dev header zlib.h
    need libcriterion-dev header criterion/criterion.h
    need python3 program "$python"
    need python3-numpy module numpy
    need python3-h5py module h5py
    need python3-pytest module pytest
    need curl either curl wget
    need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
    if [ -n "$lint" ]; then
        need clang-format program clang-format
        need cppcheck program cppcheck
        need clang-tidy program clang-tidy
        need shellcheck program shellcheck
    fi
    if [ -n "$all" ]; then
        need python3-matplotlib module matplotlib
        need python3-optuna module optuna
        need python3-pandas module pandas
        need python3-pil module PIL
        need python3-torch module torch
        need hdf5-tools program h5repack
        need valgrind program valgrind
        need dataset-fashion-mnist package dataset-fashion-mnist
        need iproute2 program tc
        need wget program wget
        need zsh program zsh
        need groff-base program groff
        need python3-openpyxl module openpyxl
        need slurmctld program slurmctld
        need slurmd program slurmd
        need slurm-client program sbatch
        need munge program munged
    fi
    local name
    for name in "${named[@]}"; do
        need "$name" package "$name"
    done
}

fail() {
    printf 'install-deps: %s\n' "$1" >&2
    printf 'Install these, then try again: %s\n' "${missing[*]}" >&2
    exit 1
}

look
[ ${#missing[@]} -gt 0 ] || exit 0
program apt-get || fail "something is missing, and there is no apt-get here (the names below are Debian's)"
if [ "$(id -u)" -eq 0 ]; then
    as_root=()
elif program sudo; then
    as_root=(sudo)
    [ -t 0 ] || as_root=(sudo -n)
    "${as_root[@]}" true || fail "sudo refused to run apt-get"
else
    fail "installing needs root, and there is no sudo here"
fi

echo "install-deps: installing through apt: ${missing[*]}"
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=2 -o Dpkg::Use-Pty=0 "$@"
}
apt update || echo "install-deps: apt-get update failed: going on with the package lists at hand" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! apt install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    fail "apt-get could not install the packages (its last words are above)"
fi
wanted=${missing[*]}
look
[ ${#missing[@]} -eq 0 ] || fail "apt-get ran without an error, but some are still not found"
echo "install-deps: installed: $wanted"

#!/usr/bin/env bash
# Builds with other compilers, optimisation levels, MPIs and HDF5s, and for other machines under qemu, and sees that
# each gives the same bits and reads the others' files: `make portability`. What is not installed is left out, and
# said. ARCHS: Debian's names of other machines (default: arm64 and s390x, which is big-endian); each needs root,
# debootstrap, qemu-user-static with binfmt_misc, a mirror, and half an hour. FOLDER: where these are kept.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=scripts/mpi-env.sh
. scripts/mpi-env.sh

python=${PYTHON:-/usr/bin/python3}
kept=$PWD/tests/version1
folder=${FOLDER:-$PWD/build/portability}
archs=${ARCHS-arm64 s390x}
warns="-std=c11 -pedantic -Wall -Wextra -Wno-unused-parameter -Werror"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$folder"
mpi_env 3
bad=0 more=() inside=''
ours=$PWD/build/trainer
wanted=$(sed -n 's/^END = "\([0-9a-f]*\)".*/\1/p' tests/py/test_version1.py)

row() { printf '%-34s %s\n' "$1" "$2"; }
wrong() {
    row "$1" "WRONG: $2"
    sed 's/^/    /' "$work/log" | tail -n 15
    bad=1
}

hash_of() {
    "$python" -c '
import hashlib, sys
import h5py
with h5py.File(sys.argv[1]) as file:
    model = file["model"]
    print(hashlib.sha256(b"".join(model[name][()].tobytes() for name in sorted(model))).hexdigest())' \
        "$1/checkpoints/last.h5" 2>>"$work/log"
}

# compare NAME COMMAND...: COMMAND is the trainer, with its mpirun, $more its last words; it runs in $inside, or
# $work/run.
compare() {
    local name=$1 run got what
    shift
    run=${inside:-$work/run}
    rm -rf "$run"
    mkdir -p "$run/runs/run"
    cp "$kept/run.ini" "$kept/train.csv" "$run"
    cp -a "$kept/config.ini" "$kept/metrics.h5" "$kept/checkpoints" "$run/runs/run"
    (cd "$run" && "$@" run.ini run.output=whole "${more[@]}" && "$@" run.ini "${more[@]}" &&
        { "$@" run.ini run.output=half train.max_steps=13 "${more[@]}" || [ $? -eq 75 ]; } &&
        "$ours" run.ini run.output=half) >"$work/log" 2>&1
    for what in whole runs/run half; do
        got=$(hash_of "$run/$what")
        if [ "$got" != "$wanted" ]; then
            wrong "$name" "the bits of $what are ${got:-not there}"
            return
        fi
    done
    row "$name" "same bits from the start, from a file of x86-64's, and given back to it"
}

# build NAME MAKE-ARGUMENTS...
build() {
    local name=$1
    shift
    if make -j"$(nproc)" BUILD="$folder/$name" "$folder/$name/trainer" "$@" >"$work/log" 2>&1; then
        return 0
    fi
    wrong "$name" "does not build"
    return 1
}

make -j"$(nproc)" build/trainer >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
for set in $("$ours" --version | sed -n 's/^kernels *//p'); do
    more=(parallel.kernels="$set")
    compare "kernels: $set" "$ours"
done
more=()

# ---- compilers ----

for compiler in gcc clang; do
    if ! command -v $compiler >/dev/null; then
        row $compiler "not installed"
        continue
    fi
    for level in 0 1 2 3; do
        build "$compiler-O$level" CC=$compiler OPT="-O$level -Werror" KERNEL_O=-O$level || continue
        compare "$compiler -O$level" "$folder/$compiler-O$level/trainer"
    done
done
# The kernels are GNU C.
hdf5=$(pkg-config --cflags hdf5-serial 2>/dev/null || pkg-config --cflags hdf5)
: >"$work/log"
for file in $(git ls-files 'src/*/*.c' | grep -v '^src/kernels/'); do
    # shellcheck disable=SC2046,SC2086 # words
    gcc $warns -D_GNU_SOURCE -Iinclude $hdf5 $(mpicc --showme:compile 2>/dev/null) -fopenmp -fsyntax-only "$file" \
        >>"$work/log" 2>&1 || { wrong "$file" "-std=c11 -pedantic"; break; }
done
[ $bad = 1 ] || row "-std=c11 -pedantic" "no warning"

# ---- libraries ----

if command -v mpicc.mpich >/dev/null && command -v mpirun.mpich >/dev/null; then
    build mpich MPICC=mpicc.mpich && compare "MPICH, 3 ranks" mpirun.mpich -np 3 "$folder/mpich/trainer"
else
    row MPICH "not installed (mpich libmpich-dev)"
fi
if command -v mpirun >/dev/null; then
    compare "Open MPI, 3 ranks" mpirun --quiet -np 3 "$ours"
fi
if pkg-config --exists hdf5-openmpi; then
    build parallel-hdf5 HDF5=hdf5-openmpi && compare "parallel HDF5" "$folder/parallel-hdf5/trainer"
else
    row "parallel HDF5" "not installed (libhdf5-openmpi-dev)"
fi

# ---- machines ----

# In a Debian of that machine's programs, which qemu runs.
foreign() {
    local arch=$1 root=$folder/$1
    local packages="gcc libc6-dev make pkg-config libopenmpi-dev openmpi-bin libhdf5-dev libinih-dev zlib1g-dev"
    if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null; then
        row "$arch" "not tried: needs root and debootstrap"
        return
    fi
    if [ ! -e "$root/ready" ]; then
        rm -rf "$root"
        # shellcheck disable=SC2086 # words
        if ! debootstrap --variant=minbase --arch="$arch" bookworm "$root" \
            "${MIRROR:-http://deb.debian.org/debian}" >"$work/log" 2>&1 ||
            ! chroot "$root" apt-get -qq update >>"$work/log" 2>&1 ||
            ! chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install \
                $packages >>"$work/log" 2>&1; then
            row "$arch" "not tried: its packages could not be installed: $(tail -n 1 "$work/log")"
            return
        fi
        touch "$root/ready"
    fi
    rm -rf "$root/src"
    mkdir -p "$root/src"
    git ls-files -z Makefile src include | tar --null -T - -cf - | tar -C "$root/src" -xf -
    if ! chroot "$root" make -C /src -j"$(nproc)" KERNEL_O=-O1 build/trainer >"$work/log" 2>&1; then
        wrong "$arch" "does not build"
        return
    fi
    inside=$root/run
    more=(parallel.threads=2)
    compare "$arch, under qemu" chroot "$root" env -C /run OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
        /src/build/trainer
    inside='' more=()
}
for arch in $archs; do
    foreign "$arch"
done
exit $bad

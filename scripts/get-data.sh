#!/usr/bin/env bash
# Gets an image set and checks it; the last line of stdout is the folder to train from.
set -euo pipefail

usage() {
    cat <<'END'
usage: scripts/get-data.sh [--check] mnist|fashion-mnist [DIR]

Makes sure that the four IDX files are on this machine (plain or .gz), each with the SHA-256 it
must have, and prints the folder that holds them as the last line of stdout (all talk is on
stderr). Without DIR: $MNIST_DIR (mnist) or Debian's package dataset-fashion-mnist if it is
installed, used where it is; else data/mnist or data/fashion-mnist, downloaded where files are
missing. With DIR: the files are in DIR afterwards, copied from those places or downloaded.
Downloads come from public mirrors, one after the other; a cut-off one is resumed. A damaged
file is kept as FILE.damaged. With --check it only looks, and writes nothing.
Environment:
  MNIST_DIR        a folder that holds MNIST
  TRAINER_MIRRORS  base URLs, separated by blanks, in place of the built-in mirrors
Exit code: 0; 2 usage; 3 no complete set could be had.
END
}

say() { printf 'get-data: %s\n' "$*" >&2; }

only_check=
if [ "${1-}" = --check ]; then
    only_check=1
    shift
fi
set_name=${1-}
case $set_name in
mnist)
    local_dir=${MNIST_DIR-}
    mirrors="https://ossci-datasets.s3.amazonaws.com/mnist
             https://storage.googleapis.com/cvdf-datasets/mnist
             https://raw.githubusercontent.com/fgnt/mnist/master"
    sums="t10k-images-idx3-ubyte 0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7
          t10k-labels-idx1-ubyte ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2
          train-images-idx3-ubyte ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db
          train-labels-idx1-ubyte 65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ;;
fashion-mnist)
    local_dir=/usr/share/datasets/fashion-mnist
    mirrors="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com
             https://storage.googleapis.com/tensorflow/tf-keras-datasets
             https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
    sums="t10k-images-idx3-ubyte 5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b
          t10k-labels-idx1-ubyte 0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34
          train-images-idx3-ubyte c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888
          train-labels-idx1-ubyte bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ;;
--help | -h) usage; exit 0 ;;
*) usage >&2; exit 2 ;;
esac
dir=${2:-data/$set_name}
mirrors=${TRAINER_MIRRORS-$mirrors}
names=$(awk '{ print $1 }' <<<"$sums")

# holds FILE NAME: FILE's content, unpacked if it is gzip, is the set's file NAME.
holds() {
    local want got
    want=$(awk -v name="$2" '$1 == name { print $2 }' <<<"$sums")
    got=$({ gzip -dcf -- "$1" 2>/dev/null || true; } | sha256sum)
    [ "${got%% *}" = "$want" ]
}

# find_file DIR NAME: prints the file of that name, plain or .gz; none of them may be damaged.
find_file() {
    local file found=
    for file in "$1/$2" "$1/$2.gz"; do
        [ -f "$file" ] || continue
        if ! holds "$file" "$2"; then
            say "$file is damaged: its SHA-256 is not that of $set_name"
            return 1
        fi
        found=$file
    done
    echo "$found"
    [ -n "$found" ]
}

# use_if_complete DIR: prints DIR and ends the script if all four files are good there.
use_if_complete() {
    local name
    [ -d "$1" ] || return 0
    for name in $names; do
        find_file "$1" "$name" >/dev/null || return 0
    done
    say "$set_name is in $1, all four SHA-256 are right"
    echo "$1"
    exit 0
}

# fetch URL PART: goes on where PART ends. 0 done; 1 the server has nothing for us; 4 no network.
fetch() {
    local code=0
    if command -v curl >/dev/null; then
        curl -fsSL --connect-timeout 5 --speed-limit 1000 --speed-time 15 -C - -o "$2" "$1" || code=$?
        case $code in
        0) return 0 ;;
        5 | 6 | 7 | 18 | 28 | 35 | 52 | 56) return 4 ;;
        *) return 1 ;;
        esac
    fi
    wget -q -c --tries=1 --dns-timeout=5 --connect-timeout=5 --read-timeout=15 -O "$2" "$1" || code=$?
    [ $code -eq 0 ] || [ $code -eq 4 ] || code=1
    return $code
}

# download NAME: from the first mirror that gives it whole. A mirror that can't be reached is
# dropped for the files that follow, so a machine without internet waits once, not four times.
download() {
    local name=$1 part="$dir/$1.gz.part" mirror resumed code
    for mirror in $mirrors; do
        while true; do
            resumed=
            [ ! -s "$part" ] || resumed=1
            say "$name.gz from $mirror${resumed:+ (resumed)}"
            code=0
            fetch "${mirror%/}/$name.gz" "$part" || code=$?
            if [ -s "$part" ] && holds "$part" "$name"; then
                mv -f "$part" "$dir/$name.gz"
                return 0
            fi
            if [ $code -eq 4 ]; then
                mirrors=${mirrors//"$mirror"/}
                break
            fi
            [ $code -ne 0 ] || say "what came from $mirror is not the set's file"
            rm -f "$part"
            [ -n "$resumed" ] || break # the rest of another mirror's file: once more, from its start
        done
    done
    return 1
}

if [ $# -lt 2 ] && [ -n "$local_dir" ]; then
    use_if_complete "$local_dir"
    [ ! -d "$local_dir" ] || say "$local_dir does not hold all of $set_name"
fi
use_if_complete "$dir"
[ -z "$only_check" ] || exit 3

if ! mkdir -p "$dir" || ! exec 9>"$dir/.lock"; then
    say "can't write to $dir"
    exit 3
fi
flock 9 # a second start waits here for the first, then finds its files
for name in $names; do
    ! find_file "$dir" "$name" >/dev/null 2>&1 || continue
    for file in "$dir/$name" "$dir/$name.gz"; do
        [ ! -f "$file" ] || holds "$file" "$name" || mv -f "$file" "$file.damaged"
    done
    if [ -d "$local_dir" ] && file=$(find_file "$local_dir" "$name"); then
        final="$dir/${file##*/}"
        cp -- "$file" "$final.part"
        mv -f "$final.part" "$final"
    elif ! download "$name"; then
        say "no $name: none of the mirrors could be reached or had it"
        say "put the four files ($(echo "$names" | paste -sd' ')), plain or .gz, into $dir"
        exit 3
    fi
done
say "$set_name is in $dir, all four SHA-256 are right"
echo "$dir"

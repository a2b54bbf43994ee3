#!/usr/bin/env bash
# Gets an image set and checks it; the last line of stdout is the folder to train from.
set -euo pipefail

usage() {
    cat <<'END'
usage: scripts/get-data.sh [--check] mnist|fashion-mnist [DIR]

Makes sure that the four IDX files are on this machine (plain or .gz), each with the SHA-256 it
must have, and prints the folder that holds them as the last line of stdout (all talk is on
stderr). Without DIR that is data/mnist or data/fashion-mnist, where the configs look: what is
missing there is linked to $MNIST_DIR (mnist) or Debian's package dataset-fashion-mnist if they
have it, else downloaded. With DIR: the files are in DIR afterwards, copied from those places or
downloaded. Downloads come from public mirrors, one after the other; a cut-off one is resumed. A
damaged file is kept as FILE.damaged; a folder with files of the other set is left alone. With
--check it only looks, and writes nothing.
Environment:
  MNIST_DIR        a folder that holds MNIST
  TRAINER_MIRRORS  base URLs, separated by blanks, in place of the built-in mirrors
Exit code: 0; 2 usage; 3 no complete set could be had.
END
}

# The SHA-256 of each set's files, unpacked.
sums="mnist t10k-images-idx3-ubyte 0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7
mnist t10k-labels-idx1-ubyte ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2
mnist train-images-idx3-ubyte ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db
mnist train-labels-idx1-ubyte 65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5
fashion-mnist t10k-images-idx3-ubyte 5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b
fashion-mnist t10k-labels-idx1-ubyte 0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34
fashion-mnist train-images-idx3-ubyte c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888
fashion-mnist train-labels-idx1-ubyte bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"

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
    ;;
fashion-mnist)
    local_dir=/usr/share/datasets/fashion-mnist
    mirrors="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com
             https://storage.googleapis.com/tensorflow/tf-keras-datasets
             https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
    ;;
--help | -h) usage; exit 0 ;;
*) usage >&2; exit 2 ;;
esac
dir=${2:-data/$set_name}
mirrors=${TRAINER_MIRRORS-$mirrors}
names=$(awk -v set="$set_name" '$1 == set { print $2 }' <<<"$sums")

# set_of FILE NAME: prints the set whose file NAME has FILE's content, unpacked if it is gzip.
set_of() {
    local got
    got=$({ gzip -dcf -- "$1" 2>/dev/null || true; } | sha256sum)
    awk -v name="$2" -v got="${got%% *}" '$2 == name && $3 == got { print $1 }' <<<"$sums"
}

holds() { [ "$(set_of "$1" "$2")" = "$set_name" ]; }

# find_file DIR NAME: prints the file of that name, plain or .gz; none of them may be damaged.
find_file() {
    local file found='' of
    for file in "$1/$2" "$1/$2.gz"; do
        [ -f "$file" ] || continue
        of=$(set_of "$file" "$2")
        if [ "$of" != "$set_name" ]; then
            say "$file is ${of:+of }${of:-damaged}: its SHA-256 is not that of $set_name"
            return 1
        fi
        found=$file
    done
    echo "$found"
    [ -n "$found" ]
}

# complete DIR: all four files are good there.
complete() {
    local name
    [ -d "$1" ] || return 1
    for name in $names; do
        find_file "$1" "$name" >/dev/null || return 1
    done
}

# use DIR: ends the script, which prints DIR.
use() {
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

! complete "$dir" || use "$dir"
local_whole=
if [ $# -lt 2 ] && [ -d "$local_dir" ]; then
    if complete "$local_dir"; then
        local_whole=1
        [ -z "$only_check" ] || use "$local_dir"
    else
        say "$local_dir does not hold all of $set_name"
    fi
fi
[ -z "$only_check" ] || exit 3

# A damaged file is one among good ones. Where none is good, it is some other set's folder.
ours='' others=''
for name in $names; do
    for file in "$dir/$name" "$dir/$name.gz"; do
        [ -f "$file" ] || continue
        case $(set_of "$file" "$name") in
        "$set_name") ours=1 ;;
        '') others=${others:-another set} ;;
        *) others=$(set_of "$file" "$name") ours='' && break 2 ;;
        esac
    done
done
if [ -n "$others" ] && [ -z "$ours" ]; then
    say "$dir holds files of $others, which stay as they are: give another folder for $set_name"
    exit 3
fi
if ! mkdir -p "$dir" || ! exec 9>"$dir/.lock"; then
    say "can't write to $dir"
    [ -n "$local_whole" ] || exit 3
    say "train on it where it is: data.dir=$local_dir"
    use "$local_dir"
fi
flock 9 # a second start waits here for the first, then finds its files
for name in $names; do
    ! find_file "$dir" "$name" >/dev/null 2>&1 || continue
    for file in "$dir/$name" "$dir/$name.gz"; do
        [ ! -f "$file" ] || holds "$file" "$name" || mv -f "$file" "$file.damaged"
    done
    if [ -d "$local_dir" ] && file=$(find_file "$local_dir" "$name"); then
        final="$dir/${file##*/}"
        if [ $# -lt 2 ]; then
            ln -sfn -- "$(cd -- "$local_dir" && pwd)/${file##*/}" "$final"
            continue
        fi
        cp -- "$file" "$final.part"
        mv -f "$final.part" "$final"
    elif ! download "$name"; then
        say "no $name: none of the mirrors could be reached or had it"
        say "put the four files ($(echo "$names" | paste -sd' ')), plain or .gz, into $dir"
        exit 3
    fi
done
use "$dir"

#!/usr/bin/env bash
# Puts what was built under $DESTDIR$PREFIX (default /usr/local), for `make install`; with
# --uninstall takes it away. Environment: PREFIX, DESTDIR, BUILD (default build).
set -euo pipefail
cd "$(dirname "$0")/.."

prefix=${PREFIX:-/usr/local} build=${BUILD:-build}
case $prefix in
/*) ;;
*) echo "install.sh: PREFIX is a path from the root, not '$prefix'" >&2; exit 2 ;;
esac
to=${DESTDIR-}$prefix
commands="plot sweep seeds watch inspect report prepare convert"

remove() {
    rm -rf "${to:?}/share/trainer" "$to/include/trainer"
    rm -f "$to/bin/trainer" "$to/lib/libtrainer.a" "$to/lib/pkgconfig/trainer.pc" "$to/share/man/man1/trainer.1" \
        "$to/share/bash-completion/completions/trainer" "$to/share/zsh/site-functions/_trainer"
    for name in $commands; do
        rm -f "$to/bin/trainer-$name"
    done
}

if [ "${1-}" = --uninstall ]; then
    remove
    exit
fi

export TRAINER=$build/trainer
python=${PYTHON:-/usr/bin/python3}
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
for kind in bash zsh man; do # all that can fail comes before anything is replaced
    "$python" scripts/shell.py $kind >"$made/$kind"
done
version=$("$TRAINER" --version | sed -n 's/^trainer //p')
remove
install -D "$TRAINER" "$to/bin/trainer"
install -Dm644 "$build/libtrainer.a" "$to/lib/libtrainer.a"
install -Dm644 "$made/man" "$to/share/man/man1/trainer.1"
install -Dm644 "$made/bash" "$to/share/bash-completion/completions/trainer"
install -Dm644 "$made/zsh" "$to/share/zsh/site-functions/_trainer"
mkdir -p "$to/include/trainer" "$to/share/trainer" "$to/lib/pkgconfig"
cp -R include/. "$to/include/trainer"
cp -R configs scripts "$to/share/trainer"
(cd "$to/share/trainer/scripts" && rm -rf bench plot_bench.py check-includes.py install.sh lint.sh shell.py)
find "$to/share/trainer" -name __pycache__ -prune -exec rm -rf {} +
ln -s ../../bin/trainer "$to/share/trainer/trainer" # where the scripts look for it
for name in $commands; do
    ln -s "../share/trainer/scripts/$name.py" "$to/bin/trainer-$name"
done
cat >"$to/lib/pkgconfig/trainer.pc" <<END
prefix=$prefix

Name: trainer
Description: trains neural networks on many cores and many machines (compile with mpicc)
Version: $version
$(<"$build/trainer.pc")
END
chmod -R a+rX "$to/share/trainer" "$to/include/trainer"
echo "installed under $to"

#!/usr/bin/env bash
# The main job, as `make run` does it: gets MNIST and trains configs/mlp.ini on it; where MNIST
# can't be had, Fashion-MNIST from Debian's package and configs/fashion.ini. Arguments go to
# scripts/run.sh before and after the config: [-n RANKS] [section.key=value ...]
set -euo pipefail

here=$(dirname "$0")
ranks=()
if [ "${1-}" = -n ]; then
    ranks=(-n "${2:?-n wants a number}")
    shift 2
fi

run=mlp
if ! dir=$("$here/get-data.sh" mnist); then
    run=fashion
    echo "MNIST can't be had: no mirror answers, and neither \$MNIST_DIR nor data/mnist holds it."
    echo "Training on Fashion-MNIST from Debian's package dataset-fashion-mnist instead."
    "$here/install-deps.sh" dataset-fashion-mnist || true # get-data.sh may know another way
    dir=$("$here/get-data.sh" fashion-mnist)
fi

usual=data/mnist
[ $run = mlp ] || usual=data/fashion-mnist
overrides=()
[ "$dir" = "$usual" ] || overrides=("data.dir=$dir")

# In the background, so that a signal to this script gets to mpirun at once, not after it.
"$here/run.sh" "${ranks[@]}" "configs/$run.ini" "${overrides[@]}" "$@" &
child=$!
trap 'kill -TERM $child' TERM
trap : INT # the terminal sends it to mpirun too, and a second one would end it at once
code=0
wait $child || code=$?
while kill -0 $child 2>/dev/null; do
    code=0
    wait $child || code=$?
done
[ $code -eq 0 ] || exit $code

python=${PYTHON:-/usr/bin/python3}
cat <<END

The results are in runs/$run. To look at them:
  $python -c "import h5py; print(h5py.File('runs/$run/metrics.h5')['epochs']['epoch', 'train_loss', 'test_accuracy'])"
  $python -c "import h5py; h5py.File('runs/$run/checkpoints/best.h5')['model'].visititems(print)"
  ./trainer eval runs/$run
  $python scripts/plot.py runs/$run        (curves and pictures; needs python3-matplotlib)
END

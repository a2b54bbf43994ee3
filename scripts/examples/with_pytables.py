"""The epochs of a run by PyTables: with_pytables.py runs/mlp/metrics.h5"""

import sys

import tables

with tables.open_file(sys.argv[1]) as file:
    epochs = file.root.epochs.read()
    best = epochs[epochs["train_loss"].argmin()]
    print([float(best["epoch"]), float(best["train_loss"])])

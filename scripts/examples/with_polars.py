"""The epochs of a run as a polars.DataFrame: with_polars.py runs/mlp/metrics.h5"""

import sys

import h5py
import polars

epochs = polars.from_numpy(h5py.File(sys.argv[1])["epochs"][:])
print(list(epochs.sort("train_loss").select("epoch", "train_loss").row(0)))

"""The epochs of a run as a pandas.DataFrame: with_pandas.py runs/mlp/metrics.h5"""

import sys

import h5py
import pandas

epochs = pandas.DataFrame(h5py.File(sys.argv[1])["epochs"][:])
print(epochs.loc[epochs["train_loss"].idxmin(), ["epoch", "train_loss"]].to_list())

"""The epochs of a run as an xarray.Dataset (with h5netcdf): with_xarray.py runs/mlp/metrics.h5"""

import sys

import xarray

tables = xarray.open_dataset(sys.argv[1], engine="h5netcdf", phony_dims="sort")  # steps, epochs, profile
rows = tables["epochs"].values
epochs = xarray.Dataset({name: ("epoch", rows[name]) for name in rows.dtype.names})
best = epochs.isel(epoch=int(epochs["train_loss"].values.argmin()))
print([float(best["epoch"]), float(best["train_loss"])])

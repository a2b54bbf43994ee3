# The epochs of a run as a data.frame of R (package hdf5r): Rscript with_hdf5r.R runs/mlp/metrics.h5
library(hdf5r)
file <- H5File$new(commandArgs(trailingOnly = TRUE)[1], mode = "r")
epochs <- file[["epochs"]][]
best <- epochs[which.min(epochs$train_loss), ]
cat(sprintf("[%.17g, %.17g]\n", as.numeric(best$epoch), best$train_loss))

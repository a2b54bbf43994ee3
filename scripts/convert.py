#!/usr/bin/env python3
"""Takes trained networks to other programs, and tensors from there.

    scripts/convert.py RUN|CHECKPOINT --to FORMAT -o OUT
        onnx          a graph from raw samples to logits or values, for onnxruntime
        torch         TorchScript: torch.jit.load(OUT)(samples)
        keras         a model of Keras 3, images channels last: keras.saving.load_model(OUT).predict(samples)
        safetensors   the tensors under PyTorch's names, and what else is needed in the metadata
        npz           the same for numpy
        c             OUT.h, one C header that predicts a sample without any library
        csv           the tables of a run, in a folder
        tensorboard   the same as an event file
    scripts/convert.py FILE --from torch|keras|safetensors|npz -o OUT.h5 [--like RUN|CHECKPOINT]
        tensors, for model.init_file = OUT.h5; with --like a whole checkpoint, which eval takes

Networks go with their normalisation: they take values as the data files have them (bytes 0 to 255), and
images with channels first but for keras. onnx, torch, keras and tensorboard need the packages of their names."""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import packages

packages.need("h5py", "numpy")
import h5py  # noqa: E402
import numpy as np  # noqa: E402
from convertlib import ConvertError, arrays, c_header, history, keras_format, network, onnx_format, pytorch  # noqa: E402
from inspectlib import files  # noqa: E402

NETWORKS = {"onnx": onnx_format.to_onnx, "torch": pytorch.to_torch, "keras": keras_format.to_keras,
            "safetensors": arrays.to_safetensors, "npz": arrays.to_npz, "c": c_header.to_c}
TABLES = {"csv": history.to_csv, "tensorboard": history.to_tensorboard}
SOURCES = {"torch": pytorch.from_torch, "keras": keras_format.from_keras,
           "safetensors": arrays.from_safetensors, "npz": arrays.from_npz}


def floats(path, name, value):
    """float32, as the trainer's tensors are; what it would refuse to read is refused here."""
    if value.dtype.kind not in "fiu":
        raise ConvertError(f"{path}: {name} has values of type {value.dtype}, no real numbers")
    with np.errstate(over="ignore"):
        value = value.astype("f4")
    if not np.isfinite(value).all():
        raise ConvertError(f"{path}: {name} has values that are no numbers of float32")
    return value


@contextlib.contextmanager
def placed(path):
    """Where to write a file, of the same name, that is put into its place when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        part = Path(folder) / path.name
        yield part
        os.replace(part, path)


def import_tensors(args):
    tensors = {name: floats(args.what, name, value)
               for name, value in SOURCES[args.source](Path(args.what)).items()}
    if not tensors:
        raise ConvertError(f"{args.what}: holds no tensor")
    with placed(args.output) as part:
        if args.like:
            put_into(network.find(args.like), tensors, part)
        else:
            with h5py.File(part, "w") as file:
                for name, value in tensors.items():
                    file[f"model/{name}"] = value
    print(f"{args.output}: {len(tensors)} tensors" + (f", else as {args.like}" if args.like else
                                                      "; model.init = file, model.init_file = it"))


def put_into(like, tensors, part):
    """A copy of a checkpoint with these tensors."""
    try:
        shutil.copyfile(like, part)
        with h5py.File(part, "r+") as file:
            model = file["model"]
            for name in model:
                if name not in tensors or model[name].shape != tensors[name].shape:
                    has = f"{list(tensors[name].shape)}" if name in tensors else "not there"
                    raise ConvertError(f"{name} is {has}, but {like} has {list(model[name].shape)}")
                model[name][...] = tensors[name]
            more = [name for name in tensors if name not in model]
            if more:
                raise ConvertError(f"{', '.join(more)}: {like} has no such tensor, so it is another network")
        if files.digest_state(part) != "none":
            files.seal(part)
    except (KeyError, files.FileError) as error:
        raise ConvertError(f"{like}: {error}") from None


def export(args):
    if args.to in TABLES:
        TABLES[args.to](history.tables(args.what), args.output)
    else:
        found = network.load(args.what)
        with placed(args.output) as part:
            NETWORKS[args.to](found, part)
    print(f"{args.output}: written")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", metavar="RUN|CHECKPOINT|FILE")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--to", choices=[*NETWORKS, *TABLES])
    way.add_argument("--from", dest="source", choices=SOURCES)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--like", metavar="RUN|CHECKPOINT")
    args = parser.parse_args()
    if args.like and args.to:
        parser.error("--like goes with --from")
    try:
        export(args) if args.to else import_tensors(args)
    except ConvertError as error:
        print(f"convert.py: {error}", file=sys.stderr)
        return 4
    except OSError as error:
        print(f"convert.py: {error.filename or args.output}: {error.strerror or error}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Looks into checkpoints, metrics and other HDF5 files of the trainer.

    scripts/inspect.py FILE|RUN ...             the tree, and what is in it: tensors, optimizer, config
    scripts/inspect.py --diff A B               what differs: config, facts, each tensor
    scripts/inspect.py --average A B ... -o C   a checkpoint whose parameters are the mean of those
    scripts/inspect.py --seal FILE              gives an edited file a digest that fits
    --json: the same for programs

A RUN is a run's folder: its metrics.h5, last.h5 and best.h5. Exit code: 0 all files are good (--diff:
equal bits), 1 --diff found differences, 4 a file is damaged or can't be read, 2 usage."""

if __name__ == "inspect":  # a script in this folder wants Python's own module of that name
    import importlib.util
    import os
    import sys
    spec = importlib.util.spec_from_file_location("inspect", os.path.join(os.path.dirname(os.__file__),
                                                                          "inspect.py"))
    sys.modules["inspect"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["inspect"])
else:
    import argparse
    import signal
    import sys

    import packages

    packages.need("h5py", "numpy")
    from inspectlib import files, show  # noqa: E402

    def main():
        parser = argparse.ArgumentParser(description=__doc__,
                                         formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("files", nargs="+", metavar="FILE|RUN")
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--diff", action="store_true", help="compare two files")
        how.add_argument("--average", action="store_true", help="of checkpoints of one model")
        how.add_argument("--seal", action="store_true", help="write the digest anew")
        parser.add_argument("-o", "--output", help="where --average writes")
        parser.add_argument("--json", action="store_true")
        args = parser.parse_args()
        if args.diff and len(args.files) != 2:
            parser.error("--diff takes two files")
        if args.average and (len(args.files) < 2 or not args.output):
            parser.error("--average takes two files or more, and -o")
        if args.output and not args.average:
            parser.error("-o is for --average")
        try:
            if args.diff:
                return show.diff(*map(files.one, args.files), args.json)
            if args.average:
                return files.average([files.one(name) for name in args.files], args.output)
            paths = [path for name in args.files for path in files.of(name)]
            if args.seal:
                return files.seal_all(paths)
            return show.all_of(paths, args.json)
        except files.FileError as error:
            print(f"inspect.py: {error}", file=sys.stderr)
            return 4

    if __name__ == "__main__":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it
        sys.exit(main())

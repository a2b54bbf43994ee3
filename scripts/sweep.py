#!/usr/bin/env python3
"""Trains one config with many settings and finds the best: on this machine or through Slurm.

usage: scripts/sweep.py run    SPEC.ini [--dry-run]    run the trials on this machine
       scripts/sweep.py submit SPEC.ini [--dry-run]    run them as a Slurm job array
       scripts/sweep.py status SWEEP                   how far it is
       scripts/sweep.py stop   SWEEP                   stop after checkpoints
       scripts/sweep.py resume SWEEP                   go on where it stopped, the same way
       scripts/sweep.py best   SWEEP                   the best config, and the command to train it
       scripts/sweep.py report SWEEP                   write report.html and its pictures
       scripts/sweep.py lr-find CONFIG [section.key=value ...]
                                                       one run with a rising learning rate: which to take

SPEC.ini says what to try (configs/sweep_mlp.ini is one). SWEEP is its name, its folder
runs/sweeps/NAME, or the SPEC.ini. Environment: TRAINER, the program (default: ./trainer of this
project). Exit codes: 0 done; 1 internal error; 2 usage, spec or config; 6 done, but trials have
failed: resume tries them again; 75 stopped: resume it."""

import argparse
import os
import sys

import packages

packages.need("optuna", "h5py", "matplotlib")
from sweeplib import commands  # noqa: E402
from sweeplib.spec import SweepError  # noqa: E402


def main():
    parser = argparse.ArgumentParser(
        usage=__doc__.split("usage: ")[1], add_help=False)
    parser.add_argument("command", choices=commands.COMMANDS)
    parser.add_argument("what")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--dry-run", action="store_true")
    if not sys.argv[1:] or {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return 0 if sys.argv[1:] else 2
    args = parser.parse_intermixed_args()
    if args.overrides and args.command != "lr-find":
        parser.error(f"unrecognized arguments: {' '.join(args.overrides)}")
    try:
        return commands.COMMANDS[args.command](args)
    except SweepError as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"sweep: {error.filename or args.what}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sweep: interrupted", file=sys.stderr)
        return commands.STOPPED


if __name__ == "__main__":
    sys.exit(main())

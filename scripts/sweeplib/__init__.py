"""The parts of scripts/sweep.py: spec -> study -> engine (here or in Slurm) -> results, report."""

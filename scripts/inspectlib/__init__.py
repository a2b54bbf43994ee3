"""What scripts/inspect.py is made of."""

"""What scripts/report.py is made of; the sweep's report shares page.py."""

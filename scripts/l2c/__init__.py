"""What `scripts/l2c_study.py` runs, reads and draws."""

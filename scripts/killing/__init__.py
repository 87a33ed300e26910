"""What `python -m scripts.reliability` does, one file for each kind of trial."""

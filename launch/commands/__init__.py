"""One file per group of commands; cli.py imports each when it is called."""

"""The program: starts, supervises and reports on runs of `decentralized`."""

"""Decentralized learning on real processes and a real network."""

__version__ = "0.1.0"

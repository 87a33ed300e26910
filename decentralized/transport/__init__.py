"""Ways to move whole messages between nodes; all satisfy `interfaces.Transport` and one contract test suite."""

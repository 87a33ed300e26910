"""The pieces of a graph."""

from __future__ import annotations

from decentralized.types import Graph


def test_a_connected_graph_is_one_piece() -> None:
    assert Graph(((1,), (0, 2), (1,))).pieces() == [{0, 1, 2}]


def test_pieces_take_edges_both_ways() -> None:
    assert Graph(((), (0,), (3,), (), ())).pieces() == [{0, 1}, {2, 3}, {4}]


def test_undirected_means_every_edge_both_ways() -> None:
    assert Graph(((1,), (0,))).undirected and not Graph(((1,), ())).undirected
    assert Graph(((1,), ())).sources(1) == (0,) and Graph(((1,), ())).sources(0) == ()

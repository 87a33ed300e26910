"""The weight alpha that MATCHA gives to each edge: the second optimization of its paper.

Wang et al., "MATCHA: Speeding up decentralized SGD via matching decomposition sampling", 2019, section 3.4. In round k
the nodes mix with W_k = I - alpha L_k, where L_k is the Laplacian of that round's graph: alpha from each neighbor, and
what is left of 1 stays with the node itself. Every W_k is symmetric and its rows sum to 1; where alpha times the degree
is above 1, the own weight is negative. The best alpha minimizes

    rho = |E[W_k' W_k] - J|    in the spectral norm, J being the matrix of all 1/N: a round shrinks the squared distance
                               from the mean to rho of it, on average and for the worst start

Matchings are used independently and L_j L_j = 2 L_j for a matching, so with M = sum_j p_j L_j and
V = sum_j p_j (1 - p_j) L_j

    E[W_k' W_k] = I - 2 alpha M + alpha^2 (M M + 2 V)

Departure: the paper solves a semidefinite program in two variables. The largest eigenvalue of that matrix less J is
convex in alpha, so here alpha is found by bisection: the slope is v' (2 alpha (M M + 2 V) - 2 M) v, with an
eigenvector v of that eigenvalue. Since (M M + 2 V) - M M is positive semidefinite, rho >= (1 - alpha s)^2 with s^2 the
largest eigenvalue of M M + 2 V, and the best alpha is below 2 / s. It is rounded to DIGITS digits, so that it does not
depend on the library of linear algebra.
"""

from __future__ import annotations

import numpy as np

from decentralized.topologies.one_peer import ALONE

HALVINGS = 30
DIGITS = 5


def laplacian(partners_MN: np.ndarray, scales_M: np.ndarray) -> np.ndarray:
    """(N, N) float64: sum_j scales_j L_j over matchings, given as the partner of each node in each, or ALONE."""
    nodes = partners_MN.shape[1]
    laplacian_NN = np.zeros((nodes, nodes))
    for partners_N, scale in zip(partners_MN, scales_M, strict=True):
        (matched,) = np.nonzero(partners_N != ALONE)
        laplacian_NN[matched, matched] += scale
        laplacian_NN[matched, partners_N[matched]] -= scale
    return laplacian_NN


def best_weight(partners_MN: np.ndarray, probabilities_M: np.ndarray) -> float:
    """Alpha for matchings with these probabilities, whose graph is connected; 0 where there are none."""
    if len(partners_MN) == 0:
        return 0.0
    mean_NN, square_NN = _moments(partners_MN, probabilities_M)
    low, high = 0.0, 2 / float(np.linalg.eigvalsh(square_NN)[-1]) ** 0.5
    for _ in range(HALVINGS):
        alpha = (low + high) / 2
        _, vectors_NN = np.linalg.eigh(_distance(mean_NN, square_NN, alpha))
        worst_N = vectors_NN[:, -1]
        falls = worst_N @ (alpha * square_NN - mean_NN) @ worst_N < 0
        low, high = (alpha, high) if falls else (low, alpha)
    return float(f"{(low + high) / 2:.{DIGITS}g}")


def shrinking(partners_MN: np.ndarray, probabilities_M: np.ndarray, alpha: float) -> float:
    """rho: below 1, the nodes come to their mean."""
    return float(np.linalg.eigvalsh(_distance(*_moments(partners_MN, probabilities_M), alpha))[-1])


def _moments(partners_MN: np.ndarray, probabilities_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The means (N, N) of L_k and of L_k L_k."""
    mean_NN = laplacian(partners_MN, probabilities_M)
    spread_NN = laplacian(partners_MN, probabilities_M * (1 - probabilities_M))
    return mean_NN, mean_NN @ mean_NN + 2 * spread_NN


def _distance(mean_NN: np.ndarray, square_NN: np.ndarray, alpha: float) -> np.ndarray:
    """E[W' W] - J, positive semidefinite."""
    nodes = len(mean_NN)
    matrix_NN: np.ndarray = np.eye(nodes) - 1 / nodes - 2 * alpha * mean_NN + alpha**2 * square_NN
    return matrix_NN

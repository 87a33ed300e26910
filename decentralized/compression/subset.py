"""A random subset of the parameters that both ends of a message draw from one seed, so that only the seed travels."""

from __future__ import annotations

import numpy as np

from decentralized.errors import CodecError

MAX_SEED = 2**63 - 1


def seeded_indices(seed: int, alpha: float, total: int) -> np.ndarray:
    """Each of 0 .. total - 1 with probability `alpha` (0 to 1, exact to 2^-32), independently; increasing, int64.

    Raw output of PCG64 is compared with a whole number, which gives the same subset with every version of numpy and
    on every processor (numpy promises this for raw output, not for its float draws). Raises CodecError for a seed that
    is no integer from 0 to `MAX_SEED`, or another alpha: they may have come from a peer.
    """
    if type(seed) is not int or not 0 <= seed <= MAX_SEED or not 0 <= alpha <= 1:
        raise CodecError(
            f"seed {seed!r:.40}, alpha {alpha!r:.40}: a subset needs a seed below 2^63 and an alpha from 0 to 1"
        )
    threshold = round(alpha * 2**32)
    if threshold == 0:
        return np.empty(0, np.int64)
    raw = np.random.PCG64(seed).random_raw((total + 1) // 2)
    draws = raw.astype("<u8", copy=False).view("<u4")[:total]
    return np.flatnonzero(draws <= np.uint32(threshold - 1)).astype(np.int64, copy=False)

"""Too few open files are said before the start, with the number needed."""

from __future__ import annotations

import pytest

from decentralized.errors import StartError
from launch.limits import EACH_NEIGHBOR, FEW, check_limit, raise_limit


@pytest.mark.parametrize(
    ("nodes", "degree", "needed"), [(96, 4, FEW + 96), (96, 95, FEW + EACH_NEIGHBOR * 95), (1, 0, FEW + 1)]
)
def test_the_number_needed_is_named(nodes: int, degree: int, needed: int) -> None:
    check_limit(needed, nodes, degree)
    with pytest.raises(StartError, match=f"^{needed} open files are needed"):
        check_limit(needed - 1, nodes, degree)


def test_this_machine_allows_some() -> None:
    assert raise_limit() > FEW

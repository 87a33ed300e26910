"""Line numbers of keys, in everything that TOML allows."""

from __future__ import annotations

import pytest

from decentralized.places import Places, split

TEXT = """\
# [not.a.table]
nodes = 4  # seed = 3
"quoted key" = 1

[data]
partition = { name = "iid" }
text = \"\"\"
[also.not.a.table]
seed = 7
\"\"\"
list = [
  "[x]",  # seed = 8
  [1],
]
after = 1
a.b.c = 2

  [network]  # a comment
  ports = [1, 2]

[ x . "y z" ]
key = 1

[[several]]
k = 1
"""

LINES = [
    (("nodes",), 2),
    (("quoted key",), 3),
    (("data",), 5),
    (("data", "partition"), 6),
    (("data", "partition", "alpha"), 6),  # the inline table begins there
    (("data", "text"), 7),
    (("data", "list"), 11),
    (("data", "list", 0), 11),
    (("data", "after"), 15),
    (("data", "a"), 16),
    (("data", "a", "b", "c"), 16),
    (("data", "nothing"), 5),
    (("network", "ports"), 19),
    (("network", "seed"), 18),
    (("x", "y z", "key"), 22),
    (("several", 0, "k"), 24),
]


@pytest.mark.parametrize(("location", "line"), LINES)
def test_the_line_of_a_key_or_of_the_table_around_it(location: tuple[int | str, ...], line: int) -> None:
    places = Places(TEXT, "x.toml")
    assert places.of(location) == f"x.toml:{line}"
    assert places.line(location) == line


@pytest.mark.parametrize("key", ["seed", "not", "also", "1"])
def test_comments_strings_and_lists_hold_no_keys(key: str) -> None:
    assert Places(TEXT, "x.toml").of((key,)) == "x.toml"


def test_what_the_command_line_gave_is_there_and_not_in_the_file() -> None:
    places = Places(TEXT, "x.toml", {("network", "ports"): "network.ports=3", ("new", "table"): "new.table=4"})
    assert places.of(("network", "ports", 0)) == "--set network.ports=3"
    assert places.of(("network", "deadline_s")) == "x.toml:18"
    assert places.of(("new",)) == places.of(("new", "other")) == "--set new.table=4"
    assert places.line(("network", "ports")) == 0


def test_a_table_that_the_command_line_replaced_hides_what_the_file_says_in_it() -> None:
    places = Places(TEXT, "x.toml", {("data",): "data=digits"})
    assert places.of(("data", "partition")) == "--set data=digits"


def test_keys_are_split_at_dots_outside_quotes() -> None:
    assert split("""a . "b.c" .'d'""") == ("a", "b.c", "d")

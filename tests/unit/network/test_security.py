"""Who is let in by which handshake, and what of a key can be seen."""

from __future__ import annotations

import pytest
from zmq.utils import z85

from decentralized.transport.security import Curve, KeyPair, Plain, Stranger, public_key

# A key pair of the documentation of ZeroMQ's curve sockets.
SECRET, PUBLIC = b"JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6", "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"


def test_the_public_half_of_a_known_secret() -> None:
    pair = KeyPair.of(z85.decode(SECRET))
    assert pair.public == PUBLIC


def test_pairs_differ_and_secrets_are_not_shown() -> None:
    assert KeyPair.new().public != KeyPair.new().public
    assert SECRET.decode() not in repr(KeyPair.of(z85.decode(SECRET)))
    assert PUBLIC in repr(KeyPair.of(z85.decode(SECRET)))


class TestCurve:
    def test_the_key_says_who_somebody_is(self) -> None:
        pairs = [KeyPair.new() for _ in range(3)]
        security = Curve(pairs[0], {node: pair.public for node, pair in enumerate(pairs)})
        for node, pair in enumerate(pairs):
            assert security.node_of(b"CURVE", [public_key(pair.public)]) == node

    @pytest.mark.parametrize(
        ("mechanism", "credentials", "why"),
        [
            (b"CURVE", [b"k" * 32], "an unknown key"),
            (b"CURVE", [], "another mechanism"),
            (b"CURVE", [b"", b""], "another mechanism"),
            (b"PLAIN", [b"1", b"token"], "another mechanism"),
            (b"NULL", [], "another mechanism"),
        ],
    )
    def test_others_are_strangers(self, mechanism: bytes, credentials: list[bytes], why: str) -> None:
        with pytest.raises(Stranger, match=why):
            Curve(KeyPair.new(), {1: KeyPair.new().public}).node_of(mechanism, credentials)

    @pytest.mark.parametrize("key", ["", "short", "x" * 41, "\u00e4" * 40, "~" * 40, PUBLIC[:-1]])
    def test_what_is_no_key_is_refused(self, key: str) -> None:
        with pytest.raises(ValueError, match="not a public key"):
            Curve(KeyPair.new(), {1: key})


class TestPlain:
    def test_the_token_lets_in_whoever_one_claims_to_be(self) -> None:
        assert Plain("token").node_of(b"PLAIN", [b"12", b"token"]) == 12

    @pytest.mark.parametrize(
        ("mechanism", "credentials", "why"),
        [
            (b"PLAIN", [b"1", b"guess"], "a wrong token"),
            (b"PLAIN", [b"1", b""], "a wrong token"),
            (b"PLAIN", [b"-1", b"token"], "an unknown node"),
            (b"PLAIN", [b"1" * 10, b"token"], "an unknown node"),
            (b"PLAIN", [b"", b"token"], "an unknown node"),
            (b"CURVE", [b"k" * 32], "another mechanism"),
            (b"NULL", [], "another mechanism"),
        ],
    )
    def test_others_are_strangers(self, mechanism: bytes, credentials: list[bytes], why: str) -> None:
        with pytest.raises(Stranger, match=why):
            Plain("token").node_of(mechanism, credentials)

"""The key that the agents of one run share, and where it is kept. The nodes' keys are others (node_process.py)."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from pathlib import Path

from decentralized.errors import KeyFileError
from decentralized.transport.security import KEY_BYTES, Curve, KeyPair

ADVICE = "A key file holds 64 hexadecimal digits, is the same on all machines, and only its owner may read it."


class RunKey:
    """32 random bytes from which every agent derives the key pairs of all agents. Never printed by accident."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def new(cls) -> RunKey:
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def parse(cls, text: str, where: str = "the key") -> RunKey:
        """From `text()`; raises KeyFileError that does not show what was given."""
        if re.fullmatch(r"[0-9a-f]{64}", text.strip()) is None:
            raise KeyFileError(f"{where} is not a key", ADVICE)
        return cls(bytes.fromhex(text.strip()))

    @classmethod
    def load(cls, path: Path) -> RunKey:
        """Raises KeyFileError for a file that others can read too, or that holds no key."""
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                mode = os.fstat(file.fileno()).st_mode
                if mode & (stat.S_IRWXG | stat.S_IRWXO):
                    raise KeyFileError(
                        f"{path} can be read by others: its mode is {mode & 0o777:o}", f"chmod 600 {path}"
                    )
                return cls.parse(file.read(2 * KEY_BYTES + 2), str(path))
        except OSError as error:
            raise KeyFileError(f"{path} cannot be read: {error.strerror}", ADVICE) from None

    def write(self, path: Path) -> None:
        """A new file that only its owner may read; FileExistsError when there is one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(self.text() + "\n")
                os.fsync(file.fileno())
            os.link(draft, path)  # never overwrites, and nobody sees half a key
        finally:
            draft.unlink(missing_ok=True)

    def text(self) -> str:
        """For the launcher's own channel: standard input, a file, a Secret."""
        return self._secret.hex()

    def token(self) -> str:
        """For the PLAIN handshake of agents."""
        return self._derive("token").hex()

    def curve(self, machine: int, machines: int) -> Curve:
        """The security of one agent among all."""
        pairs = {other: KeyPair.of(self._derive(f"agent {other}")) for other in range(machines)}
        return Curve(pairs[machine], {other: pair.public for other, pair in pairs.items()})

    def _derive(self, purpose: str) -> bytes:
        return hashlib.blake2b(purpose.encode(), digest_size=KEY_BYTES, key=self._secret).digest()

    def __repr__(self) -> str:
        return "RunKey(...)"


def default_path() -> Path:
    """The user's own key, for machines that share a home directory."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "decentralized" / "key"


def default_key() -> RunKey:
    """The user's own key, made at first use."""
    path = default_path()
    if not path.exists():
        try:
            RunKey.new().write(path)
        except FileExistsError:  # another agent of this user was faster
            pass
        except OSError as error:
            raise KeyFileError(f"{path} cannot be written: {error.strerror}", "Give a key file with --key.") from None
    return RunKey.load(path)

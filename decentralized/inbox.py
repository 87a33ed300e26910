"""Messages that have arrived and that nobody has taken yet: bounded for each sender, whatever it sends."""

from __future__ import annotations

from collections import Counter

from decentralized.types import Message, NodeId

Key = tuple[int, int, NodeId]  # round, step, sender


class Inbox:
    """Keeps at most `max_messages` and `max_bytes` of payload of each sender, over all kinds."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages, self._max_bytes = max_messages, max_bytes
        self._waiting: dict[str, dict[Key, Message]] = {}  # by kind, in order of arrival
        self._newest: dict[tuple[str, NodeId], tuple[int, int]] = {}  # (round, step) taken last
        self._messages: Counter[NodeId] = Counter()
        self._bytes: Counter[NodeId] = Counter()

    def put(self, message: Message) -> str | None:
        """Keeps the message, or says why it is dropped."""
        kind, sender, moment = message.kind, message.sender, (message.round, message.step)
        key = (*moment, sender)
        if key in self._waiting.get(kind, ()) or moment <= self._newest.get((kind, sender), (-1, -1)):
            return "duplicate or stale"
        size = _size(message)
        if self._messages[sender] >= self._max_messages or self._bytes[sender] + size > self._max_bytes:
            return "too much waiting"
        self._waiting.setdefault(kind, {})[key] = message
        self._messages[sender] += 1
        self._bytes[sender] += size
        return None

    def take(self, kind: str, key: Key) -> Message | None:
        """The message with this key, if it is there; earlier ones of this kind and sender are stale from now on."""
        waiting = self._waiting.get(kind, {})
        message = waiting.pop(key, None)
        if message is None:
            return None
        if not waiting:
            del self._waiting[kind]
        round, step, sender = key
        self._newest[kind, sender] = max((round, step), self._newest.get((kind, sender), (-1, -1)))
        self._messages[sender] -= 1
        self._bytes[sender] -= _size(message)
        return message

    def waiting(self, kind: str) -> int:
        """How many messages of this kind are kept."""
        return len(self._waiting.get(kind, ()))

    def kept(self, kind: str) -> list[Message]:
        """The messages of this kind, in order of arrival; they stay."""
        return list(self._waiting.get(kind, {}).values())

    def of(self, sender: NodeId) -> list[Message]:
        """All messages of one sender, by kind and in order of arrival; they stay."""
        return [item for waiting in self._waiting.values() for item in waiting.values() if item.sender == sender]

    def take_first(self, kind: str) -> Message | None:
        """The message of this kind that arrived first, if there is one."""
        key = next(iter(self._waiting.get(kind, ())), None)
        return None if key is None else self.take(kind, key)

    def forget(self, sender: NodeId) -> None:
        """The sender was started again: nothing of its former life is wanted, and any round may come."""
        for kind, waiting in list(self._waiting.items()):
            for key in [key for key in waiting if key[2] == sender]:
                self.take(kind, key)
        self._newest = {key: moment for key, moment in self._newest.items() if key[1] != sender}


def _size(message: Message) -> int:
    payload = message.payload
    texts = sum(len(value) for value in payload.scalars.values() if isinstance(value, str))
    return texts + sum(array.nbytes for array in payload.buffers.values())

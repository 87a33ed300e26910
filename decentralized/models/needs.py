"""What a model asks of the data, checked before it is built.

A model on the wrong data fails here with one sentence instead of somewhere in a forward pass.
"""

from __future__ import annotations

from decentralized.errors import ConfigError
from decentralized.types import Facts


def need_images(model: str, facts: Facts, smallest: int = 1) -> tuple[int, int, int]:
    """(channels, height, width); raises ConfigError unless the data are images of `smallest` pixels a side or more."""
    shape = facts.input_shape
    if len(shape) != 3 or facts.classes < 1 or min(shape[1:]) < smallest:
        raise mismatch(model, f"images of at least {smallest}x{smallest} pixels with class labels", facts)
    return shape[0], shape[1], shape[2]


def need_features(model: str, facts: Facts) -> int:
    """Numbers per sample, of any shape, with classes; raises ConfigError for ratings, text or data without classes."""
    if facts.users or facts.items or facts.vocabulary or facts.classes < 1 or not facts.input_shape:
        raise mismatch(model, "images or feature vectors with class labels", facts)
    count = 1
    for length in facts.input_shape:
        count *= length
    return count


def need_text(model: str, facts: Facts) -> int:
    """The size of the vocabulary; raises ConfigError for data that are not sequences of characters."""
    if len(facts.input_shape) != 1 or facts.vocabulary < 1:
        raise mismatch(model, "sequences of characters", facts)
    return facts.vocabulary


def need_ratings(model: str, facts: Facts) -> tuple[int, int]:
    """(users, items); raises ConfigError for data that are not (user, item) pairs with a rating."""
    if facts.input_shape != (2,) or facts.users < 1 or facts.items < 1:
        raise mismatch(model, "ratings that users gave to items", facts)
    return facts.users, facts.items


def mismatch(model: str, needs: str, facts: Facts) -> ConfigError:
    """The error of a model that does not fit the data."""
    return ConfigError([f'[model] name = "{model}": this model needs {needs}; the data has {describe(facts)}'])


def describe(facts: Facts) -> str:
    """The data in a few words, for messages."""
    if facts.users or facts.items:
        return f"ratings of {facts.users} users for {facts.items} items"
    if facts.vocabulary:
        return f"text in samples of shape {facts.input_shape} with {facts.vocabulary} distinct characters"
    if len(facts.input_shape) == 3:
        channels, height, width = facts.input_shape
        return f"images of {height}x{width} pixels with {channels} channel(s) and {facts.classes} classes"
    return f"samples of shape {facts.input_shape} with {facts.classes} classes"

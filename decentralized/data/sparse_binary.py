"""Sparse binary vectors, half of whose ones are to be completed: made by a rule, nothing is drawn or downloaded.

Bouchra Pilet, Frey, Taiani 2019, section V.2. Vector k of n bits is of class c = k mod s. It has ones at the places
3 m c + i: those with i = 0 .. m - 1 are given, and those with i = m .. 2 m - 1 are to be found; in its modified form
those with i = 2 m .. 3 m - 1 are. Noise inverts the bits ((k / s) + i (n / z)) mod n for i = 0 .. z - 1, with integer
quotients, in what is trained on and in what is given.

The paper says m = 8 with 50 bits and a period of s = 3. Then the last class would need bit 71; eight ones in all, which
is m = 4, fit, and are the default. Settings that do not fit are refused.

A sample here is what is given, and its class says what completes it: classes 0 .. s - 1 in the general form, the next s
in the modified one. For a node that has vector c modified, `permute_labels` has the cycle [c, s + c].
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator
from typing_extensions import Self

from decentralized.data.dataset import DataSet, DataSettings, Samples
from decentralized.types import Facts


class SparseBinaryVectors:
    """Vectors with m ones, to be completed with m others, as float32 inputs (n, bits) of 0 and 1."""

    class Config(DataSettings):
        """Settings of the generator."""

        bits: Annotated[int, Field(ge=3)] = 50
        """Length of a vector (the paper's n)."""
        given: Annotated[int, Field(ge=1)] = 4
        """Ones that are given, and as many that are to be found (m)."""
        noise: Annotated[int, Field(ge=0)] = 2
        """Inverted bits in each vector (z)."""
        period: Annotated[int, Field(ge=1)] = 3
        """Different vectors, noise apart (s)."""
        vectors: Annotated[int, Field(ge=1)] = 135
        """Training vectors: those of k = 0, 1, ...; the partition "successive" gives node i the i-th part of them."""
        repeat_after: Annotated[int, Field(ge=1)] | None = None
        """Begin with k = 0 again after so many, so that nodes with as many vectors train on the same ones."""
        first_test: Annotated[int, Field(ge=0)] = 1000
        """k of the first test vector."""
        tests: Annotated[int, Field(ge=1)] = 100
        """Test vectors, of consecutive k."""

        @model_validator(mode="after")
        def _fits(self) -> Self:
            needed = 3 * self.given * self.period
            if needed > self.bits:
                raise ValueError(
                    f"{self.period} vectors of 3 x {self.given} places need {needed} bits, and bits = {self.bits}"
                )
            if self.noise > self.bits:
                raise ValueError(f"noise = {self.noise} of {self.bits} bits cannot be inverted")
            return self

    def __init__(self, config: Config) -> None:
        self._config = config

    def load(self, root: Path, seed: int) -> DataSet:
        """The vectors; neither `root` nor `seed` is used."""
        config = self._config
        ks = np.arange(config.vectors) % (config.repeat_after or config.vectors)
        tests = np.arange(config.first_test, config.first_test + config.tests)
        return DataSet(
            task="classification",
            train=self._samples(ks),
            test=self._samples(tests),
            facts=Facts(input_shape=(config.bits,), classes=2 * config.period),
            halves=self._halves(),
        )

    def _samples(self, ks: np.ndarray) -> Samples:
        config = self._config
        inputs = np.zeros((len(ks), config.bits), np.float32)
        classes = ks % config.period
        rows = np.arange(len(ks))[:, None]
        inputs[rows, 3 * config.given * classes[:, None] + np.arange(config.given)] = 1
        for i in range(config.noise):
            inverted = (ks // config.period + i * (config.bits // config.noise)) % config.bits
            inputs[rows[:, 0], inverted] = 1 - inputs[rows[:, 0], inverted]
        return Samples(inputs, classes.astype(np.int64))

    def _halves(self) -> np.ndarray:
        """What is given, and what is to be found, of the classes in general and in modified form."""
        m, s = self._config.given, self._config.period
        halves = np.zeros((2 * s, 2, self._config.bits), np.uint8)
        for c in range(s):
            given, general, modified = (slice(3 * m * c + i * m, 3 * m * c + (i + 1) * m) for i in range(3))
            halves[[c, s + c], 0, given] = 1
            halves[c, 1, general] = 1
            halves[s + c, 1, modified] = 1
        return halves

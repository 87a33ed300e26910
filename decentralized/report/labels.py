"""What figures and tables call things: axes with their units, and each run by what makes it different."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from decentralized.report.series import Run

MEGABYTE = 1e6
TRAFFIC = {"sent": "Data sent", "values": "Values sent", "indices": "Indices sent", "header": "Headers sent"}
MOST_SETTINGS = 4  # in one legend entry
LONGEST_VALUE = 32  # characters of a setting's value


@dataclass(frozen=True)
class Quantity:
    """How a metric is shown: its label with the unit, and the number that one unit stands for."""

    label: str
    unit: float = 1.0


def quantity(metric: str) -> Quantity:
    """Bytes as megabytes, times as seconds, anything else as it was recorded."""
    if metric.startswith("bytes_"):
        what = metric[len("bytes_") :]
        return Quantity(f"{TRAFFIC.get(what, _words(what))} per node (MB)", MEGABYTE)
    if metric.endswith("_s"):
        return Quantity(f"{_words(metric[: -len('_s')])} (s)")
    return Quantity(_words(metric))


def run_labels(runs: Sequence[Run]) -> list[str]:
    """A different label for each run: the names, or the settings that differ, or the folders."""
    names = [run.name for run in runs]
    if len(set(names)) == len(runs):
        return names
    differing = differing_settings(runs)
    labels = [_settings_label(differing, column) for column in range(len(runs))]
    return [
        label if label and labels.count(label) == 1 else f"{label or run.name} ({run.path.resolve().name})"
        for run, label in zip(runs, labels, strict=True)
    ]


def differing_settings(runs: Sequence[Run]) -> dict[str, tuple[str | None, ...]]:
    """Dotted key to one value for each run (None where it has no such key), for the settings that are not all equal."""
    flat = [flatten(run.config) for run in runs]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    table = {key: tuple(one.get(key) for one in flat) for key in keys}
    return {key: values for key, values in table.items() if len(set(values)) > 1}


def flatten(settings: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested tables as one table with dotted keys; values as people write them."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = _shown(value)
    return flat


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(_shown, value)) if isinstance(value, list) else str(value)


def _settings_label(differing: Mapping[str, tuple[str | None, ...]], column: int) -> str:
    parts = []
    for key, values in differing.items():
        value = values[column]
        if value is not None:
            shown = value if len(value) <= LONGEST_VALUE else value[: LONGEST_VALUE - 1] + "…"
            parts.append(shown if key == "name" else f"{_short(key, differing)} = {shown}")
    return ", ".join(parts[:MOST_SETTINGS])


def _short(key: str, among: Mapping[str, object]) -> str:
    """The last part of a dotted key, or the whole key where that is not clear; `topology.name` is `topology`."""
    if key.endswith(".name"):
        return key[: -len(".name")]
    last = key.rpartition(".")[2]
    alone = sum(other.rpartition(".")[2] == last for other in among) == 1
    return last if alone else key


def _words(name: str) -> str:
    words = name.replace("_", " ")
    if words.startswith("train "):
        words = "training " + words[len("train ") :]
    if words.endswith(" rmse"):
        words = words[: -len("rmse")] + "RMSE"
    return words[:1].upper() + words[1:]

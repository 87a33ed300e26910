"""[SHARING] of decentralizepy: what is sent, and how it is averaged."""

from __future__ import annotations

from decentralized.import_ini.reading import ABSENT, NOTHING, Ini, boolean, number, numbers, text
from decentralized.import_ini.writing import Table

SECTION = "SHARING"
PLAIN_AVERAGE = "PlainAverageSharing"
ALPHAS = [0.1, 0.2, 0.3, 0.4, 1.0]  # decentralizepy's default
NO_EFFECT = "has no effect with this sharing_class"
COMPRESSION = ("compression_package", "compression_class", "float_precision")


def sharing_table(ini: Ini) -> Table:
    """The [sharing] table. A class without a counterpart keeps its name, for `check` to refuse."""
    sharing_class = ini.require(SECTION, "sharing_class")
    table = Table("sharing", ini.package(SECTION, "sharing_package"))
    convert = {
        "Sharing": _full,
        PLAIN_AVERAGE: _full,
        "PartialModel": _top_k,
        "RandomAlpha": _random_alpha,
        "SubSampling": _sub_sampling,
    }.get(sharing_class)
    if convert is not None:
        convert(ini, table, f"sharing_class = {sharing_class}")
    elif sharing_class:
        table.add("name", sharing_class, f"sharing_class; {NOTHING}")
        ini.say(SECTION, "sharing_class", f"sharing_class = {sharing_class}: {NOTHING}")
    _compression(ini, table)
    for key in ("alpha", "alpha_list", "metadata_cap", "accumulation", "accumulate_averaging_changes"):
        if key in ini.unused(SECTION):
            ini.leave(SECTION, key, NO_EFFECT if convert else "belongs to the sharing_class")
    for key in ("dict_ordered", "pickle", "save_shared", "save_accumulated"):
        ini.leave(SECTION, key, "how decentralizepy works inside; nothing here corresponds")
    for key in ("layerwise", "change_transformer"):
        ini.leave(SECTION, key, "is not supported: entries are chosen from the whole model as it is")
    return table


def mixing_table(ini: Ini) -> Table | None:
    """The [mixing] table where it is not the default, Metropolis-Hastings."""
    if ini.take(SECTION, "sharing_class", text, "").value != PLAIN_AVERAGE:
        return None
    table = Table("mixing")
    table.add("name", "uniform", f"sharing_class = {PLAIN_AVERAGE} weighs all alike")
    return table


def _full(ini: Ini, table: Table, origin: str) -> None:
    table.add("name", "full", origin)


def _top_k(ini: Ini, table: Table, origin: str) -> None:
    alpha = ini.take(SECTION, "alpha", number, 1.0)
    cap = ini.take(SECTION, "metadata_cap", number, 1.0)
    if alpha.value >= cap.value and cap.given:
        table.add("name", "full", f"{origin}, and alpha = {alpha.value} is not below metadata_cap = {cap.value}")
        return
    table.add("name", "top-k", origin)
    table.add("alpha", alpha.value, alpha.origin)
    if cap.origin != ABSENT:
        table.remark(f"{cap.label('metadata_cap')}: alpha is below it, so that it has no effect")
    _accumulation(ini, table)


def _sub_sampling(ini: Ini, table: Table, origin: str) -> None:
    alpha = ini.take(SECTION, "alpha", number, 1.0)
    cap = ini.take(SECTION, "metadata_cap", number, 1.0)
    if alpha.value > cap.value:
        table.add("name", "full", f"{origin}, and alpha = {alpha.value} is above metadata_cap = {cap.value}")
        return
    table.add("name", "sub-sampling", origin)
    table.add("alpha", alpha.value, alpha.origin)
    if cap.origin != ABSENT:
        table.remark(f"{cap.label('metadata_cap')}: alpha is not above it, so that it has no effect")


def _random_alpha(ini: Ini, table: Table, origin: str) -> None:
    alphas = ini.take(SECTION, "alpha_list", numbers, ALPHAS)
    cap = ini.take(SECTION, "metadata_cap", number, 1.0)
    table.add("name", "random-alpha", origin)
    table.add("alphas", alphas.value, _or_default(alphas.origin, "alpha_list"))
    table.add("metadata_cap", cap.value, cap.origin)
    _accumulation(ini, table)


def _accumulation(ini: Ini, table: Table) -> None:
    """Averaging changes count only on top of local ones (section 3.3.2 of the study)."""
    local = ini.take(SECTION, "accumulation", boolean, False)
    averaging = ini.take(SECTION, "accumulate_averaging_changes", boolean, False)
    table.add("accumulate", local.value, _or_default(local.origin, "accumulation"))
    table.add(
        "accumulate_mixing_changes",
        local.value and averaging.value,
        _or_default(averaging.origin, "accumulate_averaging_changes"),
    )
    if averaging.value and not local.value:
        ini.leave(SECTION, "accumulate_averaging_changes", "has no effect without accumulation: written as false")


def _compression(ini: Ini, table: Table) -> None:
    """Wherever decentralizepy reads compression from: [SHARING], in older files [COMMUNICATION]."""
    for section in (SECTION, "COMMUNICATION"):
        compress = ini.take(section, "compress", boolean, False)
        if compress.value:
            ini.leave(section, "compress", "indices are always coded as short as possible here, values never")
        elif compress.origin != ABSENT:
            table.remark(f"{compress.label('compress')}: here indices are coded as short as possible, values are not")
        for key in COMPRESSION:
            ini.leave(section, key, "values are not compressed here, and indices by the shortest of several codes")


def _or_default(origin: str, key: str) -> str:
    return f"not in the INI: the default of decentralizepy's {key}" if origin == ABSENT else origin

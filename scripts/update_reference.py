"""Write docs/settings.md, the reference of all settings, from the models that read them.

python scripts/update_reference.py            write the page
python scripts/update_reference.py --check    only say whether it is as it should be
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import json
import re
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from decentralized.build import TABLES, find
from decentralized.clusters import Kubernetes, Ray, Slurm
from decentralized.config import Checkpoint, Evaluation, Experiment, Network, Processes
from decentralized.data.cards import load_card
from decentralized.settings import Component, Family, Named, Settings

PAGE = Path(__file__).resolve().parent.parent / "docs" / "settings.md"
HEAD = """\
<!-- Written by scripts/update_reference.py; do not edit. -->

# Settings

A configuration is one TOML file. `decentralized check CONFIG` names every mistake in it, unknown keys included. On the
command line `--set TABLE.KEY=VALUE` changes one setting, and `--set TABLE.KEY=` takes it out of the file.

Every table with a `name` stands for one component: `[topology]` with `name = "ring"`, or `topology = "ring"` when the
name is enough. A name that is not on this page is the import path of a class of your own,
`"my_package.my_module:MyClass"`; see [extending](extending.md).

"Communication study" means Dresevic, EPFL 2022.
"""
TITLES = {
    "topology": "Who talks to whom: `[topology]`",
    "data": "Data sets: `[data]`",
    "partition": "Who gets which samples: `partition` in `[data]`",
    "model": "Models: `[model]`",
    "learner": "Local training: `[training]`",
    "algorithm": "What a round is: `[algorithm]`",
    "sharing": "What is sent: `[sharing]`",
    "mixing": "How it is weighed: `[mixing]`",
}
KINDS = {bool: "true or false", int: "integer", float: "number", str: "text"}
SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "a multiple of"}
LENGTHS = {"min_length": "of length >=", "max_length": "<="}
WIDTH = 120
SECTIONS: dict[str, type[Settings]] = {
    "evaluation": Evaluation,
    "network": Network,
    "checkpoint": Checkpoint,
    "processes": Processes,
    "slurm": Slurm,
    "kubernetes": Kubernetes,
    "ray": Ray,
}
CITES = re.compile(r"\b(18|19|20)\d\d\b|communication study")  # a paragraph that names a work
ESCAPED = re.compile(r"[*|\\]|<(?=[A-Za-z/!])")  # what Markdown would read as markup

Row = tuple[str, str, str, str]  # key, type, default, meaning


def page() -> str:
    """The whole page."""
    parts = [HEAD, "## Top of the file\n", table(rows(Experiment))]
    for name, settings in SECTIONS.items():
        parts += [f"## `[{name}]`\n", table(rows(settings))]
    for family in TABLES:
        parts += section(family)
    return "\n".join(parts)


def section(family: str) -> Iterator[str]:
    """One family: the settings that all of its components have, then each component."""
    yield f'## <a id="{family}"></a>{TITLES[family]}\n'
    classes = {name: find(family, name) for name in TABLES[family]}
    settings = {name: rows(kind.Config) for name, kind in classes.items()}
    common = shared(list(settings.values()))
    if common:
        yield f"All of them have:\n\n{table(common)}"
        yield from tables_in(next(iter(classes.values())).Config, common)
    for name, kind in classes.items():
        yield f"### `{name}`\n"
        yield f"{described(family, name, kind)}\n"
        own = [row for row in settings[name] if row not in common]
        if own:
            yield table(own)
            yield from tables_in(kind.Config, own)


def tables_in(settings: type[Settings], shown: Sequence[Row]) -> Iterator[str]:
    """The keys of the tables of which a list in one of the rows that are shown is made."""
    keys = {row[0] for row in shown}
    for key, field in settings.model_fields.items():
        for part in get_args(field.annotation) if f"`{key}`" in keys and get_origin(field.annotation) is tuple else ():
            if isinstance(part, type) and issubclass(part, Settings):
                yield f"Each table of `{key}`:\n\n{table(rows(part))}"


def shared(all_rows: Sequence[Sequence[Row]]) -> list[Row]:
    """The rows that are the same in all components, where there are several."""
    if len(all_rows) < 2:
        return []
    return [row for row in all_rows[0] if all(row in others for others in all_rows)]


def described(family: str, name: str, kind: type) -> str:
    """What the class says of itself, and the work that it follows."""
    paragraphs = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    source = [load_card(name).citation] if family == "data" else module_source(kind)
    return "\n\n".join(map(formatted, [*paragraphs, *source]))


def module_source(kind: type) -> list[str]:
    """The module's docstring from the first paragraph that names a work; nothing where it has several components."""
    path = f"{kind.__module__}:"
    if sum(entry.startswith(path) for entries in TABLES.values() for entry in entries.values()) > 1:
        return []
    paragraphs = inspect.cleandoc(sys.modules[kind.__module__].__doc__ or "").split("\n\n")
    return list(itertools.dropwhile(lambda text: not CITES.search(text), paragraphs))


def formatted(paragraph: str) -> str:
    """A paragraph of a docstring as Markdown; an indented one is shown as it stands."""
    if paragraph.startswith("    "):
        return f"```text\n{inspect.cleandoc(paragraph)}\n```"
    return textwrap.fill(plain(paragraph), WIDTH, break_long_words=False, break_on_hyphens=False)


def rows(settings: type[Settings]) -> list[Row]:
    """One row for each key but the name of the component."""
    keys = settings.model_fields.items()
    is_component = issubclass(settings, Component)
    return [
        (f"`{key}`", kind_of(field.annotation, field.metadata), default_of(field), meaning_of(field))
        for key, field in keys
        if not (is_component and key == "name")
    ]


def table(content: Sequence[Row]) -> str:
    head = ["| key | type | default | meaning |", "|---|---|---|---|"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in content)]) + "\n"


def meaning_of(field: FieldInfo) -> str:
    return plain(" ".join((field.description or "").split()))


def kind_of(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """A type and its bounds in words."""
    family = next((mark for mark in metadata if isinstance(mark, Family)), None)
    if family is not None:
        return f"name or table, see [below](#{family.name})"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind_of(arguments[0], [*metadata, *_flat(arguments[1:])])
    if origin in (Union, types.UnionType):
        return " or ".join(kind_of(part, metadata) for part in arguments if part is not type(None))
    if origin is Literal:
        return f"one of {', '.join(map(spelled, arguments))}"
    if origin is tuple:
        return _list_of(arguments)
    if isinstance(annotation, type) and issubclass(annotation, Named):
        return "name, or table of a name and its arguments"
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return "table"
    if annotation not in KINDS:
        sys.exit(f"scripts/update_reference.py has no words for the type {annotation}: add them to kind_of()")
    return KINDS[annotation] + bounds(metadata)


def _flat(metadata: Sequence[Any]) -> list[Any]:
    """Constraints as they stand, whether or not a Field holds them."""
    return [mark for one in metadata for mark in (one.metadata if isinstance(one, FieldInfo) else [one])]


def _list_of(parts: Sequence[Any]) -> str:
    length = "" if parts[-1] is Ellipsis else f"{len(parts)} "
    kinds = {kind_of(part): None for part in parts if part is not Ellipsis}  # a set, but in order
    noun, _, limits = next(iter(kinds)).partition(" ")
    if len(kinds) == 1 and noun in (*KINDS.values(), "table", "list"):
        return f"list of {length}{noun}s {limits}".rstrip()
    return f"list of {length}: {', '.join(kinds)}"


def bounds(metadata: Sequence[Any]) -> str:
    """Constraints in words, such as " >= 1 and < 10"."""
    words = [
        f"{phrase} {_number(value)}"
        for mark in metadata
        for name, phrase in {**SIGNS, **LENGTHS}.items()
        if (value := getattr(mark, name, None)) is not None
    ]
    return f" {' and '.join(words)}" if words else ""


def _number(value: float) -> str:
    """Powers of two as such where they are long."""
    exponent = int(value).bit_length() - 1
    return f"2^{exponent}" if exponent > 30 and value == 2**exponent else str(value)


def default_of(field: FieldInfo) -> str:
    """The default as it would be written in the TOML."""
    family = next((mark for mark in field.metadata if isinstance(mark, Family)), None)
    if family is not None and family.default is not None:
        return spelled(family.default)
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None:
        return "not given"
    if isinstance(default, Settings) and not isinstance(default, Named):
        return "its defaults"
    return spelled(default)


def spelled(value: object) -> str:
    return f"`{toml(value)}`"


def toml(value: object) -> str:
    """A value as TOML. A table that has only a name is written as that name."""
    if isinstance(value, Named):
        value = {"name": value.name, **value.arguments}
    if isinstance(value, Mapping):
        if list(value) == ["name"]:
            return toml(value["name"])
        return f"{{ {', '.join(f'{key} = {toml(item)}' for key, item in value.items())} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def plain(text: str) -> str:
    """Text in which only what stands between backticks is markup."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(
        piece.replace("|", r"\|") if piece.startswith("`") else ESCAPED.sub(r"\\\g<0>", piece) for piece in pieces
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the page is not up to date")
    wanted = page()
    if not parser.parse_args().check:
        PAGE.write_text(wanted, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != wanted:
        sys.exit("docs/settings.md is not up to date: run `python scripts/update_reference.py`")


if __name__ == "__main__":
    main()

"""What is wrong with a setting, in plain English and on one line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

OWN = "mistake"  # the error type of `mistake`: its message is the whole sentence
LONGEST_VALUE = 60  # characters of a wrong value that are shown

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a string in quotes",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "literal_error": "{expected}",
    "expected": "{expected}",
}

_LENGTHS = {
    "too_short": ("at least", "min_length", "entries"),
    "too_long": ("at most", "max_length", "entries"),
    "string_too_short": ("at least", "min_length", "characters"),
    "string_too_long": ("at most", "max_length", "characters"),
}


def mistake(message: str, *location: str) -> ValidationError:
    """To be raised in a validator: `message` is the sentence, `location` the key below the validated table."""
    kind = PydanticCustomError(OWN, "{message}", {"message": message})
    return ValidationError.from_exception_data("settings", [InitErrorDetails(type=kind, loc=location, input=None)])


def mistakes(messages: Sequence[str]) -> ValidationError:
    """To be raised in a validator: several sentences, all about the validated key."""
    kinds = [PydanticCustomError(OWN, "{message}", {"message": message}) for message in messages]
    items = [InitErrorDetails(type=kind, loc=(), input=None) for kind in kinds]
    return ValidationError.from_exception_data("settings", items)


def expected(what: str) -> PydanticCustomError:
    """To be raised in a validator: the value should be `what`."""
    return PydanticCustomError("expected", "{expected}", {"expected": what})


def sentence(item: ErrorDetails) -> str:
    """One of pydantic's errors as a sentence."""
    kind, context = item["type"], item.get("ctx", {})
    key = dotted(item["loc"])
    if kind == OWN:
        return str(context["message"])
    if kind == "missing":
        return f"'{key}' is missing"
    if kind == "extra_forbidden":
        return f"unknown key '{key}'"
    if kind in _LENGTHS:
        return f"'{key}' should {_length(kind, context)}"
    if kind == "value_error":
        return f"{key}: {context['error']}" if key else str(context["error"])
    if kind not in _EXPECTED:
        return f"'{key}': {item['msg'][:1].lower()}{item['msg'][1:]}, not {shown(item['input'])}"
    bounds = {name: int(bound) if _whole(bound) else bound for name, bound in context.items()}
    return f"'{key}' should be {_EXPECTED[kind].format(**bounds)}, not {shown(item['input'])}"


def nearest(name: str, known: Sequence[str]) -> str:
    """ "; did you mean 'x'?", or what there is. Case and the kind of dash do not count."""
    folded = {_folded(candidate): candidate for candidate in known}
    close = difflib.get_close_matches(_folded(name), folded, 1, 0.6)
    return f"; did you mean '{folded[close[0]]}'?" if close else f"; known are {', '.join(sorted(known))}"


def dotted(location: Sequence[int | str]) -> str:
    """A key as in the message: model.hidden[0]."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def shown(value: Any) -> str:
    """A value about as TOML writes it, cut where it is long."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, (tuple, list)):
        text = f"[{', '.join(shown(item) for item in value)}]"
    elif isinstance(value, Mapping):
        text = f"{{ {', '.join(f'{key} = {shown(item)}' for key, item in value.items())} }}"
    else:
        text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def _length(kind: str, context: Mapping[str, Any]) -> str:
    bound, key, what = _LENGTHS[kind]
    return "not be empty" if (bound, context[key]) == ("at least", 1) else f"have {bound} {context[key]} {what}"


def _whole(bound: object) -> bool:
    return isinstance(bound, float) and bound.is_integer()


def _folded(name: str) -> str:
    return name.lower().replace("_", "-")

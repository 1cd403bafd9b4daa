"""Read YAML files into dataclasses, checking keys and types. Independent of the training."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from flareseg.errors import UsageError

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """YAML, in which 1e-3 is a number as in YAML 1.2; YAML 1.1, which the parser follows, asks for 1.0e-3."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+"), list("-+.0123456789")
)


def read_tables(path: Path, overrides: list[str]) -> dict[str, Any]:
    """Read a YAML file merged over the one named in `extends`, then apply the overrides "section.key=value".

    Raises:
        UsageError: when a file cannot be read or an override is invalid.
    """
    data = _read(path)
    for item in overrides:
        key, separator, text = item.partition("=")
        if not separator:
            raise UsageError(f"'{item}' is no key=value.")
        node: Any = data
        *parents, leaf = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {}) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise UsageError(f"{path}: there is no '{key}'.")
        try:
            node[leaf] = yaml.load(text, _Loader)
        except yaml.YAMLError:
            raise UsageError(f"'{item}' has a value that is no YAML.") from None
    return data


def build(kind: type[T], data: Any, where: str) -> T:
    """Build an instance of the dataclass `kind` from a table.

    Raises:
        UsageError: naming the key that is unknown, missing or of another type.
    """
    if not isinstance(data, dict):
        raise UsageError(f"{where}: expected keys and values.")
    hints = get_type_hints(kind)
    known = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            raise UsageError(f"{where}: unknown key '{key}'; known are: {', '.join(known)}.")
    for name, f in known.items():
        needed = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if needed and name not in data:
            raise UsageError(f"{where}: '{name}' is missing.")
    return kind(**{key: _value(hints[key], value, f"{where}: {key}") for key, value in data.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    """Convert `value` to the type `hint`, one of those used in the dataclasses of the configuration."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        options = [option for option in arguments if option is not type(None)]
        if len(options) == 1:
            return _value(options[0], value, where)
        for option in options:
            try:
                return _value(option, value, where)
            except UsageError:
                continue
    elif origin is Literal:
        if value in arguments and type(value) in {type(argument) for argument in arguments}:
            return value
        raise UsageError(f"{where} is {value!r}, expected one of {', '.join(map(str, arguments))}.")
    elif dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, where)
    elif origin is dict and isinstance(value, dict):
        key_hint, item_hint = arguments
        return {_value(key_hint, key, where): _value(item_hint, item, f"{where}: {key}") for key, item in value.items()}
    elif origin is list and isinstance(value, list):
        return [_value(arguments[0], item, where) for item in value]
    elif origin is tuple and isinstance(value, list) and len(value) == len(arguments):
        return tuple(_value(item_hint, item, where) for item_hint, item in zip(arguments, value, strict=True))
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif hint in (int, str, bool) and type(value) is hint:
        return value
    elif hint is Path and isinstance(value, str):
        return Path(value).expanduser()
    raise UsageError(f"{where} cannot be {value!r}, expected {_type_name(hint)}.")


def _type_name(hint: Any) -> str:
    """Name of a type for messages."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_type_name(argument) for argument in arguments if argument is not type(None))
    if origin is tuple:
        return f"{len(arguments)} values"
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", Path: "a path"}
    return words.get(hint) or {list: "a list", dict: "a table"}.get(origin, str(hint))


def _read(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"The configuration '{path}' cannot be read.") from None
    except yaml.YAMLError as error:
        raise UsageError(f"The configuration '{path}' is no valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise UsageError(f"The configuration '{path}' is no table of keys and values.")
    data = _unshared(data)
    parent = data.pop("extends", None)
    if parent is None:
        return data
    line = (*above, path.resolve())
    if not isinstance(parent, str) or (path.parent / parent).resolve() in line:
        raise UsageError(f"The configuration '{path}' extends {parent!r}, expected another file beside it.")
    return _merged(_read(path.parent / parent, line), data)


def _unshared(value: Any) -> Any:
    """A deep copy, so that overriding a value does not change other uses of the same YAML alias."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else value
    return result

"""YAML to validated models, with errors that name file, key and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from mmdtwin.errors import ConfigError

KINDS = (
    "coils", "magnets", "arms", "devices", "phantoms", "patients", "imagers", "instruments",
    "scenarios", "rigs", "randomisation", "bead_phantoms",
)  # fmt: skip

# Keys that name a file beside the YAML file, by kind.
FILES = {"phantoms": (("vessel", "wall"), ("vessel", "centreline"))}


class Config(BaseModel):
    """Base of all configuration models: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


ConfigT = TypeVar("ConfigT", bound=Config)


def names(kind: str) -> list[str]:
    """Return the names of the shipped presets of a kind."""
    folder = resources.files("mmdtwin.configs") / kind
    if not folder.is_dir():
        return []  # a kind without presets has no folder
    return sorted(
        p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml")
    )


def read(kind: str, name: str | Path) -> tuple[dict[str, Any], str]:
    """Return the mapping in a preset (by name) or a file (by path), and where it was found.

    Raises
    ------
    ConfigError
        If there is no such preset or file, or it is not a YAML mapping.
    """
    text_name = str(name)
    is_path = text_name.endswith((".yaml", ".yml")) or "/" in text_name
    if is_path:
        path = Path(text_name)
        if not path.is_file():
            raise ConfigError(
                f"{text_name}: no such file; give a YAML file or one of {_known(kind)}"
            )
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{text_name}: cannot be read as text; give a YAML file") from error
    else:
        found = resources.files("mmdtwin.configs") / kind / f"{text_name}.yaml"
        if not found.is_file():
            raise ConfigError(f"{kind}: unknown name '{text_name}'; known: {_known(kind)}")
        text = found.read_text()
        text_name = f"configs/{kind}/{text_name}.yaml"
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{text_name}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{text_name}: expected a mapping of keys to values")
    if is_path:
        _anchor(data, kind, path.parent)
    return data, text_name


def _anchor(data: dict[str, Any], kind: str, folder: Path) -> None:
    """Take the names of files in `data` relative to the folder of the YAML file."""
    for part, key in FILES.get(kind, ()):
        within = data.get(part)
        if isinstance(within, dict) and isinstance(within.get(key), str):
            within[key] = str(folder / within[key])


def parse(model: type[ConfigT], data: Mapping[str, Any], where: str) -> ConfigT:
    """Validate a mapping against a model, or a union of models that differ in `kind`.

    Raises
    ------
    ConfigError
        On the first fault: one line with file, key, fault and the allowed keys or range.
    """
    try:
        return TypeAdapter(model).validate_python(data)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_fault(error, model)}") from error


def load(model: type[ConfigT], kind: str, name: str | Path) -> ConfigT:
    """Read and validate a preset or file."""
    data, where = read(kind, name)
    return parse(model, data, where)


def override(data: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """Return a copy of `data` with `a.b=value` assignments applied (values are YAML).

    A part of a list goes by its number: `a.0.b=value`.

    Raises
    ------
    ConfigError
        If an assignment has no `=`, goes through something that is neither a mapping nor a list, or
        past the end of a list.
    """
    result = _copy(data)
    for assignment in assignments:
        key, sep, text = assignment.partition("=")
        if not sep or not key.strip():
            raise ConfigError(f"--set {assignment}: expected key=value, e.g. task.timeout=60")
        target: Any = result
        *parents, leaf = key.strip().split(".")
        for parent in parents:
            if isinstance(target, list):
                target = target[_number(parent, target, assignment)]
            else:
                target = target.setdefault(parent, {}) if isinstance(target, dict) else None
        if not isinstance(target, dict | list):
            raise ConfigError(f"--set {assignment}: '{key}' goes through a key that holds a value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {assignment}: '{text}' is not a YAML value") from error
        if isinstance(target, list):
            target[_number(leaf, target, assignment)] = value
        else:
            target[leaf] = value
    return result


def _number(text: str, items: list[Any], assignment: str) -> int:
    """Return the number of an item in a list."""
    if not text.isdecimal() or int(text) >= len(items):
        allowed = f"0 to {len(items) - 1}" if items else "none: the list is empty"
        raise ConfigError(f"--set {assignment}: no item '{text}' in the list; allowed: {allowed}")
    return int(text)


def _copy(data: Any) -> Any:
    if isinstance(data, dict):
        return {k: _copy(v) for k, v in data.items()}
    if isinstance(data, list):
        return [_copy(v) for v in data]
    return data


def _known(kind: str) -> str:
    return ", ".join(names(kind)) or "(none)"


def _first_fault(error: ValidationError, model: Any) -> str:
    fault = error.errors()[0]
    keys, allowed = _walk(model, fault["loc"])
    key = ".".join(keys) or "(top level)"
    if fault["type"] == "extra_forbidden":
        return f"{key}: unknown key; allowed: {', '.join(allowed)}"
    message = fault["msg"].removeprefix("Value error, ")
    given = fault.get("input")
    shown = f" (got {given!r})" if not isinstance(given, (dict, list)) else ""
    return f"{key}: {message}{shown}"


def _walk(model: Any, loc: tuple[int | str, ...]) -> tuple[list[str], list[str]]:
    """Return the keys on the way to a fault, without pydantic's tags, and the keys at its place."""
    keys: list[str] = []
    models = _models_in(model)
    parents = models
    for part in loc:
        tagged = [m for m in models if isinstance(part, str) and part in _kinds(m)]
        if tagged and not any(part in m.model_fields for m in models):
            models = parents = tagged
            continue
        keys.append(str(part))
        if isinstance(part, str):
            parents = models
            fields = [m.model_fields[part] for m in models if part in m.model_fields]
            models = [found for field in fields for found in _models_in(field.annotation)]
    return keys, sorted({key for m in parents for key in m.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _models_in(part)]


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    """Return the values that pick a model out of a union by its `kind`."""
    kind = model.model_fields.get("kind")
    return getattr(kind.annotation, "__args__", ()) if kind else ()

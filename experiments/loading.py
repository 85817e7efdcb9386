"""From a file the user wrote to a checked config, or to lines that say what to change.

Reads YAML without trusting it: no aliases that explode, no keys given twice, no objects, no surprises such as
``NO`` meaning false. Does not know what the keys mean; ``config`` does.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from experiments.config import PolicyChoice
from experiments.errors import MistakesError, RefusedError, UserError
from experiments.kinds import CONFIG_KINDS, Config
from policies.registry import policy_class

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 32
MAX_VALUES: Final = 10_000
MAX_SHOWN: Final = 80

Location = tuple[int | str, ...]
_Model = TypeVar("_Model", bound=BaseModel)

_BOOL: Final = "tag:yaml.org,2002:bool"
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"
_OPEN: Final = (0, 0)
_NOT_MAPPING: Final = ("model_type", "model_attributes_type", "dict_type", "dataclass_type")


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read, override and check a config.

    Args:
        path: a YAML file. ``kind: evaluation`` makes it an offline evaluation; without it, an experiment.
        overrides: ``path.to.key=value`` with the value in YAML, applied in order.

    Raises:
        UserError: if the file cannot be read, is no safe and valid YAML, or says what a config may not.
    """
    return check_config(read_config(path, overrides), path.parent)


def read_config(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The keys and values of a file with its overrides, unchecked.

    Raises:
        UserError: if the file cannot be read or is no safe and valid YAML, or an override is none.
    """
    data = read_mapping(path)
    for override in overrides:
        _apply(data, override)
    return data


def check_config(data: Mapping[str, Any], folder: Path) -> Config:
    """The config that these keys and values make.

    Args:
        data: as ``read_config`` gives it.
        folder: beside which a log's file is looked for, too.

    Raises:
        MistakesError: if they say what a config may not, all of it.
        UserError: if they are of no known kind.
    """
    kind = data.get("kind", "experiment")
    if not isinstance(kind, str) or kind not in CONFIG_KINDS:
        raise UserError(f"kind: {shown(kind)} is unknown; use one of {', '.join(CONFIG_KINDS)}")
    whole, absent = _with_files(data, folder)
    try:
        config = checked(CONFIG_KINDS[kind], whole)
    except MistakesError as error:
        follow = "world.cities: " if any(line.startswith("world.climates: ") for line in absent) else None
        lines = [line for line in error.lines if follow is None or not line.startswith(follow)]
        raise MistakesError([*absent, *lines]) from error
    if absent:
        raise MistakesError(absent)
    return config


def _with_files(data: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], list[str]]:
    """The same, with files where they were found, and a line for each that was not.

    The name of a file of climates is replaced by what it holds, so that a resolved config is whole; by nothing where it
    holds none.
    """
    whole, absent = dict(data), []

    def put(block: str, key: str, found: Callable[[], Any], else_: Any) -> None:
        try:
            value = found()
        except UserError as error:
            absent.append(str(error))
            value = else_
        whole[block] = {**whole[block], key: value}

    world, traffic = data.get("world"), data.get("traffic")
    if isinstance(world, Mapping) and isinstance(name := world.get("climates"), str):
        put("world", "climates", lambda: _climates_of(name, folder), {})
    if isinstance(world, Mapping) and world.get("kind") == "log" and isinstance(path := world.get("path"), str):
        dataset = world.get("dataset")
        named = dataset.replace("_", "-") if isinstance(dataset, str) and dataset.isidentifier() else "NAME"
        fetch = f"fetch it with `testbed data {named} --to DIR`"
        put("world", "path", lambda: str(_find_data("world.path", Path(path), folder, fetch)), path)
    if (
        isinstance(traffic, Mapping)
        and traffic.get("kind") == "trace"
        and isinstance(trace := traffic.get("path"), str)
    ):
        write = "write one with `testbed record` or `testbed convert`"
        put("traffic", "path", lambda: str(_find_data("traffic.path", Path(trace), folder, write)), trace)
    return whole, absent


def _climates_of(name: str, folder: Path) -> dict[str, Any]:
    """What a file of climates holds."""
    remedy = "write one with `testbed climate CSV --out FILE`"
    path = _find_data("world.climates", Path(name), folder, remedy)
    try:
        climates = read_mapping(path).get("climates")
    except UserError as error:
        raise UserError(f"world.climates: {error}") from error
    if not isinstance(climates, dict):
        raise UserError(f"world.climates: {path} has none; write a file with `testbed climate CSV --out FILE`")
    return climates


def checked(model: type[_Model], data: Mapping[str, Any]) -> _Model:
    """What a mapping says, checked against a model.

    Raises:
        MistakesError: if it says what it may not.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise MistakesError(_lines(error, model, data)) from error


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping a YAML file holds, of text, numbers, booleans, lists and mappings; dates stay text.

    Raises:
        UserError: if it is no regular file, over 1 MiB, not UTF-8, not YAML, no mapping, gives a key twice,
            or expands through aliases to more than ``MAX_VALUES`` values.
    """
    try:
        if not path.is_file():
            problem = "is not a file" if path.exists() else "no such file"
            raise UserError(f"{path}: {problem}; give the path of a YAML file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UserError(f"{path}: {size} bytes; a config holds at most {MAX_BYTES}")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    data = _parse(text, str(path))
    if not isinstance(data, dict):
        raise UserError(f"{path}: holds {_kind_of(data)}; a config is a mapping of keys to values, as in `seed: 7`")
    return data


def shown(value: Any) -> str:
    """A value as it may stand in a one-line message: on one line and not too long."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


class _Loader(yaml.SafeLoader):
    """A SafeLoader to which only true and false are booleans, dates are text, deep nesting an error."""

    yaml_implicit_resolvers = {  # noqa: RUF012  the attribute PyYAML itself reads from the class
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOL, _TIMESTAMP)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_Loader.add_implicit_resolver(_BOOL, re.compile("^(?:true|false)$"), ["t", "f"])


def _parse(text: str, source: str) -> Any:
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _measure(node, {})
        return _unshared(loader.construct_document(node))
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{source}{line}: not valid here: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error
    finally:
        if loader is not None:
            loader.dispose()


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Values under a node and levels below it, aliases expanded; refuses too much and keys given twice."""
    if id(node) in known:
        if known[id(node)] == _OPEN:
            raise yaml.MarkedYAMLError(problem="an alias holds itself; write it out", problem_mark=node.start_mark)
        return known[id(node)]
    known[id(node)] = _OPEN
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
        children = [value for _, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    values, levels = 1, 0
    for child in children:
        below = _measure(child, known)
        values, levels = values + below[0], max(levels, below[1] + 1)
        if values > MAX_VALUES or levels > MAX_DEPTH:
            problem = f"more than {MAX_VALUES} values or {MAX_DEPTH} levels; write less"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    known[id(node)] = (values, levels)
    return known[id(node)]


def _unshared(value: Any) -> Any:
    """A copy in which no part stands in two places, so that an override changes one place only."""
    if isinstance(value, dict):
        return {key: _unshared(part) for key, part in value.items()}
    return [_unshared(part) for part in value] if isinstance(value, list) else value


def _check_keys(node: yaml.MappingNode) -> None:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        mark = key.start_mark
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=mark)
        if key.value in seen:
            problem = f"key {shown(key.value)} given twice (first in line {seen[key.value]}); keep one"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        seen[key.value] = mark.line + 1


def _apply(data: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise UserError(f"--set {shown(override)}: write path.to.key=value, as in --set world.users=2000")
    set_key(data, ".".join(keys), _parse(text, f"--set {path}"), "--set")


def set_key(data: dict[str, Any], path: str, value: Any, who: str) -> None:
    """Set a dotted key, making the mappings above it.

    Args:
        data: is changed.
        path: the key.
        value: its value.
        who: sets it, for the message.

    Raises:
        UserError: if something above the key is no mapping.
    """
    keys = path.split(".")
    target = data
    for depth, key in enumerate(keys[:-1], start=1):
        target = target.setdefault(key, {})
        if not isinstance(target, dict):
            where = ".".join(keys[:depth])
            raise UserError(f"{who} {path}: {where} is {_kind_of(target)}, not a mapping; set {where} as a whole")
    target[keys[-1]] = value


def _find_data(field: str, path: Path, folder: Path, remedy: str) -> Path:
    candidates = [path] if path.is_absolute() else [path, folder / path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    also = "" if path.is_absolute() else f", nor beside the config in {folder}"
    raise UserError(f"{field}: {path}: no such file{also}; {remedy}")


def _kind_of(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", type(None): "nothing"}
    return names.get(type(value), shown(value))


def _lines(error: ValidationError, model: type[BaseModel], data: Mapping[str, Any]) -> list[str]:
    """A config's errors; unknown keys before others, since a mistyped key causes others."""
    details = error.errors(include_url=False)
    explained: set[Location] = set()
    unknown = []
    for item in details:
        if item["type"] == "extra_forbidden":
            line, meant = _unknown_key(item["loc"], model, data)
            unknown.append(line)
            explained |= {meant} if meant else set()
    places = [item["loc"] for item in details]
    explained |= {  # items that are wrong are not counted, and nobody need be told that they are too few then
        item["loc"]
        for item in details
        if item["type"] == "too_short"
        and any(place != item["loc"] and place[: len(item["loc"])] == item["loc"] for place in places)
    }
    others = [item for item in details if item["type"] != "extra_forbidden" and item["loc"] not in explained]
    return [*unknown, *(line for item in others for line in _sentences(item, data))]


def _unknown_key(location: Location, model: type[BaseModel], data: Mapping[str, Any]) -> tuple[str, Location | None]:
    *parents, key = location
    known = list(_model_at(parents, model, data).model_fields)
    field = _dotted(location, data)
    near = difflib.get_close_matches(str(key), known, n=1)
    if near:
        return f"{field}: unknown key (did you mean {near[0]}?)", (*parents, near[0])
    return f"{field}: unknown key; known here: {', '.join(known) or 'none'}", None


def _model_at(location: Sequence[int | str], model: type[BaseModel], data: Any) -> type[BaseModel]:
    """The model that the mapping at a location is checked against."""
    here: Any = model
    for step in location:
        if isinstance(here, type) and issubclass(here, PolicyChoice) and step == "params":
            here = policy_class(data["policy"]).Params
        elif isinstance(here, type) and issubclass(here, BaseModel):
            here = here.model_fields[str(step)].annotation
        elif get_origin(here) is dict:
            here = get_args(here)[1]
        elif get_origin(here) in (tuple, list):
            here = get_args(here)[0]
        here = _without_none(here)
        if get_origin(here) in (Union, UnionType) and _is_tag(step, data):
            here = next(member for member in get_args(here) if step in get_args(member.model_fields["kind"].annotation))
            continue
        data = _child(data, step)
    return here


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        return members[0] if len(members) == 1 else annotation
    return annotation


def _is_tag(step: int | str, data: Any) -> bool:
    """Whether a step of a location is pydantic's note of the union member it chose, not a key of the data."""
    return isinstance(data, Mapping) and step in (data.get("kind"), data.get("unit")) and step not in data


def _child(data: Any, step: int | str) -> Any:
    if isinstance(data, Mapping):
        return data.get(step)
    return data[step] if isinstance(data, list) and isinstance(step, int) and step < len(data) else None


def _dotted(location: Location, data: Any) -> str:
    names = []
    for step in location:
        if _is_tag(step, data) or step == "[key]":
            continue
        name = step if isinstance(step, int) or step.isprintable() else shown(step)
        names.append(f"[{name}]" if isinstance(step, int) else f".{name}")
        data = _child(data, step)
    return "".join(names).removeprefix(".")


def _sentences(item: ErrorDetails, data: Mapping[str, Any]) -> Iterator[str]:
    """What one of pydantic's errors says: a line, or as many as a check of several keys has found."""
    if item["type"] != "value_error":
        yield _sentence(item, data)
        return
    field, error = _dotted(item["loc"], data), item["ctx"]["error"]
    for said in error.lines if isinstance(error, RefusedError) else (str(error),):
        message = said.removeprefix(f"{item['loc'][-1]}: " if item["loc"] else "")
        yield f"{field}: {message}" if field else message


def _sentence(item: ErrorDetails, data: Mapping[str, Any]) -> str:
    field, value = _dotted(item["loc"], data), shown(item["input"])
    match item["type"]:
        case "missing":
            return f"{field}: missing; this key has no default"
        case "union_tag_not_found":
            return f"{field}.kind: missing; say which kind"
        case "union_tag_invalid":
            context = item["ctx"]
            return f"{field}.kind: {shown(context['tag'])} is unknown; use {context['expected_tags']}"
        case kind if kind in _NOT_MAPPING:
            return f"{field}: {value} is not a mapping; give keys and values under it"
        case kind if kind.startswith("date_"):
            return f"{field}: {value} is not a date; write year, month and day, as in 2015-10-05"
        case "string_pattern_mismatch":
            return f"{field}: {value} does not match {item['ctx']['pattern']}"
    message = item["msg"]
    if message.startswith("Input should be "):
        return f"{field}: {value} must be {message.removeprefix('Input should be ')}"
    return f"{field}: {value}: {message[:1].lower()}{message[1:]}"

"""Configuration: one YAML file per job, checked against a pydantic model, with overrides and helpful errors."""

import copy
import difflib
import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    NonNegativeInt,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    ValidationInfo,
)
from pydantic.fields import FieldInfo

from myosotis.engine.errors import InputError
from myosotis.engine.yaml_text import RepeatedKeyError, parse_yaml, read_yaml


class Config(BaseModel):
    """The base of every configuration: immutable, and an unknown key is an error.

    The ``Attributes`` section of a class's docstring is the one description of its fields: of the JSON schema, of the
    reference pages and of ``myosotis schema``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    without_effect: ClassVar[frozenset[str]] = frozenset()
    """Keys at the top that do not change a result: a run may be resumed with other values of them."""

    renamed: ClassVar[Mapping[str, str]] = {}
    """Keys of earlier versions, and what they are called now."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Give fields the descriptions of the docstring."""
        described = field_descriptions(cls)
        for name, field in cls.model_fields.items():
            field.description = described.get(name, field.description)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Put the descriptions of the class and of its fields into the schema."""
        schema = handler(core_schema)
        described = {name: field.description for name, field in cls.model_fields.items() if field.description}
        describe_properties(handler.resolve_ref_schema(schema), cls, described)
        return schema


ConfigT = TypeVar("ConfigT", bound=Config)


def field_descriptions(kind: type[Any]) -> dict[str, str]:
    """Return what the docstring of a class says of its fields, one line each.

    Args:
        kind: Class with a docstring in Google's style: a configuration, or a dataclass of settings.

    Example:
        >>> class Settings:
        ...     \"\"\"Settings.
        ...
        ...     Attributes:
        ...         rate: Learning rate,
        ...             > 0.
        ...     \"\"\"
        >>> field_descriptions(Settings)
        {'rate': 'Learning rate, > 0.'}
    """
    described = {}
    for base in reversed(kind.__mro__):
        docstring = inspect.cleandoc(vars(base).get("__doc__") or "")
        section = _FIELDS.search(docstring)
        if section is not None:
            entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section[1], re.MULTILINE)
            described.update({name: _as_markdown(text) for name, text in entries})
    return described


def describe_properties(schema: dict[str, Any], kind: type[Any], described: Mapping[str, str]) -> None:
    """Write the first paragraphs of a docstring and the descriptions of fields into a JSON schema.

    Args:
        schema: Schema of an object; changed in place.
        kind: Class that it is the schema of.
        described: Descriptions by the names of the fields.
    """
    schema["description"] = _as_markdown(_SECTION.split(inspect.cleandoc(kind.__doc__ or ""))[0])
    for name, content in schema.get("properties", {}).items():
        if name in described:
            content["description"] = described[name]


_FIELDS = re.compile(r"^(?:Attributes|Args):\n((?: .*(?:\n|\Z)|\n)+)", re.MULTILINE)
_SECTION = re.compile(r"\n\n[A-Z][a-z]+:\n")


def _as_markdown(text: str) -> str:
    """Text of a docstring without its roles, as editors and pages show it."""
    text = re.sub(r":\w+:`~?\.?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    return " ".join(text.replace("``", "`").split())


def _run_name(name: str) -> str:
    if not re.fullmatch(r"[\w.-]{1,100}", name) or not name.strip("."):
        raise ValueError("a name has 1 to 100 letters, digits, '-', '_' and '.', and not dots alone")
    return name


RunName = Annotated[str, AfterValidator(_run_name)]
"""The name of a job, which becomes the name of its directory below ``runs/``."""

Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]


class JobConfig(Config):
    """The head of the configuration of every job.

    Attributes:
        job: Kind of job.
        name: Name of the run.
        seed: Seed of every random choice.
        trackers: Experiment trackers that receive the figures of ``metrics.jsonl``.
        operator: Person or organisation that the report names as responsible; nothing is read from the system.
    """

    without_effect: ClassVar[frozenset[str]] = frozenset({"operator"})

    job: str
    name: RunName
    seed: NonNegativeInt = 0
    trackers: tuple[Tracker, ...] = ()
    operator: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] | None = None


def _absolute(path: str, info: ValidationInfo) -> str:
    folder = (info.context or {}).get("folder")
    if folder is None:
        return path
    # pathlib drops a leading './', which says that '~name' is a file here; and it raises where there is no such user.
    return str((folder / os.path.expanduser(path)).resolve())  # noqa: PTH111


_IS_PATH = object()

LocalPath = Annotated[str, AfterValidator(_absolute), _IS_PATH]
"""A path on this machine. :func:`load_config` takes a relative one from the folder of the configuration file, and
:func:`local_paths` lists it."""


def _absolute_if(is_path: Callable[[Path, str], bool]) -> AfterValidator:
    def resolve(name: str, info: ValidationInfo) -> str:
        folder = (info.context or {}).get("folder")
        return name if folder is None or not is_path(folder, name) else str((folder / name).resolve())

    return AfterValidator(resolve)


ModelName = Annotated[str, _absolute_if(lambda _, name: name.startswith(".")), _IS_PATH]
"""A model of the hub, a packaged one, or a path: a relative one begins with ``.``."""

DatasetName = Annotated[str, _absolute_if(lambda folder, name: (folder / name).is_dir()), _IS_PATH]
"""A data set of the hub, or a directory."""


def local_paths(config: BaseModel) -> list[str]:
    """Return every :data:`LocalPath` of a configuration that is given, those of nested settings included.

    Example:
        >>> class Inputs(Config):
        ...     train: LocalPath
        ...     others: dict[str, LocalPath | None] = {}
        >>> local_paths(Inputs(train="a", others={"b": "c", "d": None}))
        ['a', 'c']
    """
    return [
        path for name, field in type(config).model_fields.items() for path in _paths_in(field, getattr(config, name))
    ]


def _paths_in(annotation: Any, value: Any) -> Iterator[str]:
    if isinstance(annotation, FieldInfo):
        annotation = LocalPath if _IS_PATH in annotation.metadata else annotation.annotation
    if value is None:
        return
    if isinstance(value, BaseModel):
        yield from local_paths(value)
    elif get_origin(annotation) is Annotated:
        base, *metadata = get_args(annotation)
        if _IS_PATH in metadata:
            yield str(value)
        else:
            yield from _paths_in(base, value)
    elif isinstance(value, Mapping):
        for inner in value.values():
            for argument in get_args(annotation):
                yield from _paths_in(argument, inner)
    elif isinstance(value, tuple | list):
        for inner in value:
            for argument in get_args(annotation)[:1]:
                yield from _paths_in(argument, inner)
    elif not any(get_origin(argument) is Literal and value in get_args(argument) for argument in get_args(annotation)):
        for argument in get_args(annotation):
            yield from _paths_in(argument, value)


_SECRET_PARAMETER = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token|key)[^=&]*=)[^&]+", re.IGNORECASE)


def mask_password(url: str) -> str:
    """Return a URL as it may be shown: ``***`` stands for its password.

    Example:
        >>> mask_password("postgresql://me:secret@db.example/optuna?sslpassword=other")
        'postgresql://me:***@db.example/optuna?sslpassword=***'
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        # Not a URL, so the position of a password is not known.
        return f"{scheme.partition(':')[0]}:***" if "@" in url else url
    if not rest.startswith("/"):
        user, at, host = rest.rpartition("@")
        name, colon, _password = user.partition(":")
        rest = f"{name}{colon and ':***'}{at}{host}"
    return scheme + separator + _SECRET_PARAMETER.sub(r"\1***", rest)


StorageURL = Annotated[str, PlainSerializer(mask_password, return_type=str, when_used="json")]
"""The URL of a database. Its password is used to connect and never leaves the process: not in a dumped configuration,
nor in what is made of one (report, tracker, error)."""


def load_config(source: Path | Mapping[str, object], schema: type[ConfigT], overrides: Sequence[str] = ()) -> ConfigT:
    """Read, override and validate the configuration of a job.

    Args:
        source: A YAML file with a mapping at the top, or settings, whose paths start from the working directory.
        schema: The configuration class.
        overrides: Settings like ``training.epochs=3``; the value is read as YAML.

    Returns:
        The validated configuration.

    Raises:
        InputError: The file is missing or not YAML, keys are unknown (the nearest right one is named) or values are
            out of range (the range is named); the error lists every fault.
    """
    if isinstance(source, Path):
        content, folder, name = read_settings(source), source.resolve().parent, str(source)
    else:
        content, folder, name = copy.deepcopy(dict(source)), Path.cwd(), "settings"
    for override in overrides:
        _apply_override(content, override)
    try:
        return schema.model_validate(content, context={"folder": folder})
    except ValidationError as error:
        raise InputError(f"{name}: {_explain(error, schema)}") from None


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings in a configuration file, whatever they are.

    Raises:
        InputError: The file is missing, not YAML, or has no mapping at the top.
    """
    content = read_yaml(path)
    if content is None:
        raise InputError(f"{path}: is empty; expected the settings of a job")
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a mapping of settings at the top, got {type(content).__name__}")
    return content


def dump_config(config: Config) -> str:
    """Return a configuration as YAML, every default spelled out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings by dotted keys; what is not set is left out.

    Example:
        >>> flatten({"stop": {"at": "goal", "every": None}})
        {'stop.at': 'goal'}
    """
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        elif value is not None:
            flat[prefix + key] = str(value)
    return flat


def _apply_override(content: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not all(key.split(".")):
        # Without '=' the whole might be a value, and secret.
        shown = f" {key}=..." if separator else ""
        raise InputError(f"--set{shown}: expected KEY=VALUE with a dotted key, like training.epochs=3")
    try:
        value = parse_yaml(text)
    except RepeatedKeyError as error:
        raise InputError(f"--set {key}: {error.problem}") from None
    except yaml.YAMLError:
        raise InputError(f"--set {key}: the value is not valid YAML") from None
    if isinstance(value, str) and value == text:
        value = _number(text)
    *parents, last = key.split(".")
    settings = content
    for parent in parents:
        if settings.get(parent) is None:
            settings[parent] = {}
        settings = settings[parent]
        if not isinstance(settings, dict):
            raise InputError(f"--set {key}: {parent} is a single value, it has no settings below it")
    settings[last] = value


def _number(text: str) -> str | float:
    """YAML 1.1 reads ``1e-4`` as a string, which no user means."""
    try:
        return float(text)
    except ValueError:
        return text


def _explain(error: ValidationError, schema: type[BaseModel]) -> str:
    """Every fault, in one line."""
    faults = _of_one_branch(error.errors(include_url=False), schema)
    # An unknown key says more than the fault that follows from it.
    unknown = [_unknown_key(fault, schema) for fault in faults if fault["type"] == "extra_forbidden"]
    others = [fault for fault in faults if fault["type"] != "extra_forbidden"]
    texts = [
        _fault_text(fault, schema)
        for fault in others
        if fault["type"] != "missing" or not any(f"'{_key(fault, schema)}'?" in text for text in unknown)
    ]
    texts = list(dict.fromkeys([*unknown, *texts]))
    if len(texts) == 1:
        return texts[0]
    return f"{len(texts)} faults: " + "; ".join(f"({number}) {text}" for number, text in enumerate(texts, 1))


def _of_one_branch(faults: Sequence[Any], schema: type[BaseModel]) -> list[Any]:
    """Of a setting that may be one thing or another, the faults of what it comes nearest to; all other faults."""
    branches: dict[tuple[Any, ...], dict[Any, list[Any]]] = {}
    for fault in faults:
        location = fault["loc"]
        at = next((index for index, part in enumerate(location) if _is_branch_tag(part, schema)), None)
        where, branch = (location, None) if at is None else (location[:at], location[at])
        branches.setdefault(where, {}).setdefault(branch, []).append(fault)

    def distance(own: Sequence[Any]) -> tuple[bool, bool, int]:
        # What is wrong inside, or wrong by its size, has the right kind at least; else the first alternative is named.
        inside = any(len(fault["loc"]) > 1 + _depth(fault, schema) for fault in own)
        other_kind = all(fault["type"].endswith(("_type", "_parsing", "literal_error")) for fault in own)
        return not inside, other_kind, len(own)

    return [fault for by_branch in branches.values() for fault in min(by_branch.values(), key=distance)]


def _depth(fault: Any, schema: type[BaseModel]) -> int:
    """Where the first alternative of a fault's location stands."""
    location = fault["loc"]
    return next((index for index, part in enumerate(location) if _is_branch_tag(part, schema)), len(location))


def _key(fault: Any, schema: type[BaseModel]) -> str:
    return ".".join(str(part) for part in fault["loc"] if not _is_branch_tag(part, schema))


def _unknown_key(fault: Any, schema: type[BaseModel]) -> str:
    key = _key(fault, schema)
    return f"unknown key '{key}'{_hint(key, schema)}"


def _fault_text(fault: Any, schema: type[BaseModel]) -> str:
    key = _key(fault, schema)
    if fault["type"] == "missing":
        return f"'{key}' is missing"
    message = str(fault["msg"]).removeprefix("Value error, ")
    # What is wrong between several keys names them itself.
    between = fault["type"] == "value_error" and isinstance(fault["input"], dict)
    given = "" if between else f" (got {_shown(fault['input'])})"
    if isinstance(fault["input"], bool) and not fault["type"].startswith("bool"):
        given += "; YAML reads no, off and yes as false or true: quote the word"
    return (f"'{key}': " if key else "") + message[0].lower() + message[1:] + given


def _shown(value: Any) -> str:
    """A value in an error: numbers and short words; anything longer might be data, of which only the type is named."""
    if value is None or isinstance(value, int | float) or (isinstance(value, str) and len(value) <= 40):
        return repr(value)
    return {"str": "a long string", "list": "a list", "dict": "a mapping"}.get(type(value).__name__, "something else")


_TAGS = ("literal[", "list[", "tuple[", "constrained-", "function-")


def _is_branch_tag(part: int | str, schema: type[BaseModel]) -> bool:
    """Pydantic puts the name of the tried class into the location of a union's fault; users know only keys."""
    names = {"str", "int", "float", *(model.__name__ for model in _models(schema))}
    return isinstance(part, str) and (part in names or part.startswith(_TAGS))


def _models(schema: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield schema
    for field in schema.model_fields.values():
        for inner in models_in(field.annotation):
            yield from _models(inner)


def _models_at(schema: type[BaseModel], key: str) -> list[type[Config]]:
    """The configurations that a dotted key may hold; ``schema`` itself for an empty one."""
    models = [schema]
    for part in key.split(".") if key else []:
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        models = [inner for field in fields for inner in models_in(field.annotation)]
    return [model for model in models if issubclass(model, Config)]


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that a type consists of, at any depth of unions and containers."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def _dotted_keys(schema: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in schema.model_fields.items():
        yield prefix + name
        for inner in models_in(field.annotation):
            yield from _dotted_keys(inner, f"{prefix}{name}.")


def _hint(key: str, schema: type[BaseModel]) -> str:
    """Name the nearest valid key: first among siblings, then the same last word elsewhere, then anything alike."""
    keys = list(dict.fromkeys(_dotted_keys(schema)))
    parent, _, last = key.rpartition(".")
    now = next((model.renamed[last] for model in _models_at(schema, parent) if last in model.renamed), None)
    if now is not None:
        return f"; it is called '{now}' now"
    siblings = {name.rpartition(".")[2]: name for name in keys if name.rpartition(".")[0] == parent}
    close = difflib.get_close_matches(last, siblings, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{siblings[close[0]]}'?"
    elsewhere = [name for name in keys if name.rpartition(".")[2] == last]
    close = elsewhere or difflib.get_close_matches(key, keys, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known here: {', '.join(sorted(siblings))}" if siblings else ""

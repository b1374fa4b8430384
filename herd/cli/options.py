"""Settings as command-line options: one option per field, so that flag, environment and file cannot drift apart."""

import inspect
import os
from collections.abc import Callable
from dataclasses import Field
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer

import herd
from herd import config
from herd.config import NodeSettings, RouterSettings
from herd.errors import ConfigError

Settings = TypeVar("Settings", RouterSettings, NodeSettings)

# Settings that are part of the contract and whose features this version does not have: given, they are refused, for
# a router that silently ignored a setting would be worse than one that does not start.
_NOT_YET: dict[type, tuple[str, ...]] = {
    RouterSettings: ("auto_pull",),
    NodeSettings: (),
}


def settings_command(role: type[Settings], run: Callable[[Settings], None]) -> Callable[..., None]:
    """A Typer command with one option for each field of `role`, which loads the settings and calls `run`."""

    def command(**flags: Any) -> None:
        file = config_file(role, flags.pop("config"), flags.get("data_dir"))
        settings = config.load(role, flags, os.environ, file)
        refuse_what_is_missing(settings)
        run(settings)

    hints = get_type_hints(role)
    parameters = [
        _parameter(name, hints[name], item.metadata["many"], _help(role, item))
        for name, item in config.settings_of(role).items()
    ]
    parameters.append(
        inspect.Parameter(
            "config",
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[Path | None, typer.Option("--config", help="Settings file (herd.toml).")],
        )
    )
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = run.__doc__
    return command


def _help(role: type, item: Field[Any]) -> str:
    """The sentence of one setting, with what holds where it is not given."""
    text: str = item.metadata["help"]
    if item.name in _NOT_YET[role]:
        return f"{text} Not available yet."
    if item.default in {None, "", False, ()} or "default" in text:
        return text
    return f"{text.removesuffix('.')} (default: {item.default})."


def _parameter(name: str, hint: Any, many: bool, help_text: str) -> inspect.Parameter:
    """One option. Its default is None, which means "not given": the real default lies in the settings."""
    flag = "--" + name.replace("_", "-")
    kind = _single(hint)
    if many:
        annotation: Any = list[str] | None
    else:
        annotation = kind | None
    either_way = kind is bool and hint is not bool  # a third state, "not said", is worth a flag each way
    declaration = f"{flag}/--no-{flag[2:]}" if either_way else flag
    option = typer.Option(declaration, help=help_text, show_default=False)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[annotation, option]
    )


def _single(hint: Any) -> Any:
    """`int` for `int | None`; the type itself otherwise."""
    if get_origin(hint) is UnionType:
        return next(part for part in get_args(hint) if part is not type(None))
    return hint


def config_file(role: type, given: Path | None, data_dir: Path | None) -> Path | None:
    """The settings file: as given, else by environment, else `herd.toml` in the data directory if there is one."""
    prefix = config.ENV_PREFIX[role]
    named = given or os.environ.get(f"{prefix}CONFIG")
    if named:
        return Path(named).expanduser()
    directory = data_dir or os.environ.get(f"{prefix}DATA_DIR") or config.default_data_dir(role)
    usual = Path(directory).expanduser() / "herd.toml"
    try:
        return usual if usual.is_file() else None
    except OSError as error:  # a directory that is another user's
        raise ConfigError(f"cannot read {usual}: {error.strerror or error}") from error


def refuse_what_is_missing(settings: RouterSettings | NodeSettings) -> None:
    """Raise ConfigError for a setting whose feature this version does not have."""
    default = type(settings)()
    for name in _NOT_YET[type(settings)]:
        value = getattr(settings, name)
        if value not in {getattr(default, name), False}:
            flag = "--" + name.replace("_", "-")
            raise ConfigError(f"{flag} is not available in Herd {herd.__version__} yet: leave it out")

"""`herd pin MODEL` and `herd unpin MODEL`: keep a model loaded, whatever else is asked for."""

import json
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

import typer

from herd.cli.process import printable
from herd.cli.remote.asking import AdminKey, AsJson, Refused, RouterUrl, asked, understood
from herd.cli.remote.completion import model_names
from herd.cli.words import meant
from herd.errors import HerdError

_Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="The model, as clients name it.", autocompletion=model_names)
]


def pin_command(
    model: _Model, router_url: RouterUrl = None, as_json: AsJson = False, admin_key: AdminKey = None
) -> None:
    """Keep a model loaded on the machine that serves it most; nothing else makes it go.

    Example: herd pin llama3.2:3b
    """
    answer = _ordered(router_url, "POST", model, admin_key)
    typer.echo(json.dumps(answer, indent=2) if as_json else _pinned(printable(answer["model"]), answer.get("home")))


def _pinned(model: str, home: Any) -> str:
    if isinstance(home, str):
        return f"{model} stays loaded on {printable(home)} from now on"
    return f"{model} is pinned, but no machine can keep it loaded now: that takes one with Ollama that has room for it"


def unpin_command(
    model: _Model, router_url: RouterUrl = None, as_json: AsJson = False, admin_key: AdminKey = None
) -> None:
    """Let a pinned model go when it is not used, like any other.

    Example: herd unpin llama3.2:3b
    """
    answer = _ordered(router_url, "DELETE", model, admin_key)
    typer.echo(json.dumps(answer, indent=2) if as_json else f"{printable(answer['model'])} is like any other again")


def _ordered(router_url: str | None, method: str, model: str, admin_key: str | None) -> Any:
    """The router's answer. Raises HerdError when there is none, or it says why not."""
    if not model.strip():
        raise typer.BadParameter("a model's name is not empty")
    try:
        answer = asked(router_url, f"/herd/v1/pins/{quote(model, safe='')}", admin_key=admin_key, method=method)
    except Refused as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        raise HerdError(f"{error}{meant(model, _known(router_url, admin_key))}") from error
    with understood("pins"):
        return {**answer, "model": str(answer["model"])}


def _known(router_url: str | None, admin_key: str | None) -> set[str]:
    """The models that somebody may have meant, as nodes list them; none where the router does not tell."""
    try:
        nodes = asked(router_url, "/herd/v1/status", admin_key=admin_key)["nodes"]
        return {str(model["name"]) for node in nodes for model in node["models"]}
    except (HerdError, LookupError, TypeError):
        return set()

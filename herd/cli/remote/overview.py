"""`herd status`, `herd models` and `herd queues`: the fleet on one screen, and what it serves."""

import json

import typer
from rich.console import Console

from herd.cli.remote import overview_view
from herd.cli.remote.asking import AdminKey, AsJson, Refused, RouterUrl, asked, understood

_STATUS, _TAGS = "/herd/v1/status", "/api/tags"


def status_command(router_url: RouterUrl = None, as_json: AsJson = False, admin_key: AdminKey = None) -> None:
    """Show the fleet on one screen: its nodes, what is wrong, and what to do about it.

    Example: herd status --router-url http://192.168.1.10:11435
    """
    document = asked(router_url, _STATUS, admin_key=admin_key)
    if as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    with understood("fleet"):
        shown = overview_view.fleet(document)
    Console(highlight=False).print(shown)


def models_command(router_url: RouterUrl = None, as_json: AsJson = False, admin_key: AdminKey = None) -> None:
    """List every model: its size, where it is, where it is in memory, what it can do, and other names for it.

    Example: herd models --json
    """
    document = asked(router_url, _STATUS, admin_key=admin_key)
    try:
        listed = asked(router_url, _TAGS, admin_key=admin_key)
    except Refused as error:
        if error.status != 401:  # a router with keys lets its own machine read the status, and this with a key alone
            raise
        listed = None
    with understood("models"):
        found = overview_view.models(document, listed)
        shown = overview_view.model_table(found, listed is not None)
    if as_json:
        typer.echo(json.dumps({"models": [overview_view.as_document(model) for model in found]}, indent=2))
        return
    Console(highlight=False).print(shown)


def queues_command(router_url: RouterUrl = None, as_json: AsJson = False, admin_key: AdminKey = None) -> None:
    """List the queues: what runs and what waits for each model on each node.

    Example: herd queues
    """
    document = asked(router_url, _STATUS, admin_key=admin_key)
    with understood("queues"):
        queues, held = document["queues"], document["totals"]["held"]
        shown = overview_view.queues(queues, held)
    if as_json:
        typer.echo(json.dumps({"queues": queues, "held": held}, indent=2))
        return
    Console(highlight=False).print(shown)

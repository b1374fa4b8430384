"""What the two scripts have in common: a Typer app whose bare form is one of its commands, and `--version`."""

from typing import Annotated, Any

import typer

import herd
from herd.cli.completion import whole_words

_OWN_FLAGS = ("--help", "--version", "--install-completion", "--show-completion")


class DefaultCommandGroup(typer.core.TyperGroup):
    """A group whose bare form is one of its commands: `herd --port 1` means `herd serve --port 1`."""

    default: str

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command in front of arguments that name none.

        A shell that completes the first word has none yet, and may get a command or a flag: nothing is put before that.
        """
        first = args[0] if args else "" if ctx.resilient_parsing else "-"
        if first.startswith("-") and first.partition("=")[0] not in _OWN_FLAGS:
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run it, or answer the shell that asks what could be typed."""
        with whole_words(f"_{str(self.name).replace('-', '_').upper()}_COMPLETE"):
            return super().main(*args, **{"prog_name": self.name, **kwargs})  # however it was started

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """The commands, or the flags, of which those of the default command are some."""
        found: list[Any] = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            command = self.commands[self.default]
            with command.make_context(self.default, [], parent=ctx, resilient_parsing=True) as own:
                known = {item.value for item in found}
                found += [item for item in command.shell_complete(own, incomplete) if item.value not in known]
        return found


def application(script: str, *, default: str, about: str, example: str) -> typer.Typer:
    """An app for `script`, to which commands are added.

    Args:
        script: the name it is called by.
        default: the command that is meant where none is named.
        about: one sentence.
        example: a line to try.
    """
    group = type("Group", (DefaultCommandGroup,), {"default": default})
    app = typer.Typer(
        name=script,
        cls=group,
        no_args_is_help=False,
        pretty_exceptions_enable=False,
        help=f"{about} Without a command: {script} {default}.",
        epilog=f"Example: {example}",
    )

    def show_version(wanted: bool) -> None:
        if wanted:
            typer.echo(f"{script} {herd.__version__}")
            raise typer.Exit

    @app.callback()
    def options(
        version: Annotated[
            bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
        ] = False,
    ) -> None:
        """What is said before a command; `--version` acts by itself."""

    return app

"""What the two scripts have in common: a Typer app whose bare form is one of its commands, and `--version`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import typer

import herd
from herd.cli.shells import whole_words

_OWN_FLAGS = ("--help", "--version", "--install-completion", "--show-completion")


class DefaultCommandGroup(typer.core.TyperGroup):
    """A group whose bare form is one of its commands: `herd --port 1` means `herd serve --port 1`."""

    default: str

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command in front of arguments that name none.

        A shell that completes the first word has none yet, and may get a command or a flag: nothing is put before that.
        """
        if _is_bare(args[0]) if args else not ctx.resilient_parsing:
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run it, or answer the shell that asks what could be typed; by one name, however it was started."""
        with whole_words(f"_{str(self.name).replace('-', '_').upper()}_COMPLETE"):
            return super().main(*args, **{"prog_name": self.name, **kwargs})

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """The commands, or the flags, of which those of the default command are some."""
        found: list[Any] = super().shell_complete(ctx, incomplete)
        command = self.commands.get(self.default)
        if command is not None and incomplete.startswith("-"):
            with command.make_context(self.default, [], parent=ctx, resilient_parsing=True) as own:
                known = {item.value for item in found}
                found += [item for item in command.shell_complete(own, incomplete) if item.value not in known]
        return found


def _is_bare(word: str) -> bool:
    """Whether a first word is a flag of the default command."""
    return word.startswith("-") and word.partition("=")[0] not in _OWN_FLAGS


@dataclass(frozen=True, slots=True)
class Script:
    """A script and its commands.

    Attributes:
        name: that it is called by.
        default: the command that is meant where none is named.
        about: one sentence.
        example: a line to try.
        commands: where each is, in the order in which help lists them: `module:function`, in this package.
    """

    name: str
    default: str
    about: str
    example: str
    commands: Mapping[str, str]

    def app(self, words: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> typer.Typer:
        """An app for a command line: with the command that it names, or with all of them where it names none.

        Args:
            words: behind the script's name; None: it may be any.
            environ: in which the shell says that it wants `words` completed, if it does.
        """
        app = self._bare()
        for name in self.commands if words is None else self._asked_for(words, environ or {}):
            module, _, function = self.commands[name].partition(":")
            app.command(name=name)(getattr(import_module(f"herd.cli.{module}"), function))
        return app

    def _asked_for(self, words: Sequence[str], environ: Mapping[str, str]) -> Sequence[str]:
        if f"_{self.name.replace('-', '_').upper()}_COMPLETE" in environ:
            words = environ.get("COMP_WORDS", environ.get("_TYPER_COMPLETE_ARGS", "")).split()[1:]
        elif not words or _is_bare(words[0]):
            return (self.default,)
        return (words[0],) if words and words[0] in self.commands else tuple(self.commands)

    def _bare(self) -> typer.Typer:
        group = type("Group", (DefaultCommandGroup,), {"default": self.default})
        app = typer.Typer(
            name=self.name,
            cls=group,
            no_args_is_help=False,
            pretty_exceptions_enable=False,
            help=f"{self.about} Without a command: {self.name} {self.default}.",
            epilog=f"Example: {self.example}",
        )

        def show_version(wanted: bool) -> None:
            if wanted:
                typer.echo(f"{self.name} {herd.__version__}")
                raise typer.Exit

        @app.callback()
        def options(
            version: Annotated[
                bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
            ] = False,
        ) -> None:
            """What is said before a command; `--version` acts by itself."""

        return app

"""How commands are made: with the global options at every level, and examples in their help."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_type_hints

import typer

from apps.vxlanctl.session import own_version, session

_PANEL = "Global options"

Url = Annotated[
    str | None,
    typer.Option("--url", help="The controller, or VXLANCTL_URL.", rich_help_panel=_PANEL),
]
TokenFile = Annotated[
    str | None,
    typer.Option(
        "--token-file",
        help="A file with the API's token; or VXLANCTL_TOKEN has the token.",
        rich_help_panel=_PANEL,
    ),
]
CaCert = Annotated[
    str | None,
    typer.Option(
        "--cacert",
        help="With https: who signed the controller's certificate (PEM), or VXLANCTL_CACERT.",
        rich_help_panel=_PANEL,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        help="table or json, for errors too.",
        autocompletion=lambda: ["json", "table"],
        rich_help_panel=_PANEL,
    ),
]
NoColor = Annotated[
    bool | None,
    typer.Option("--no-color", help="No colours; or NO_COLOR.", rich_help_panel=_PANEL),
]


def _globals(
    url: Url = None,
    token_file: TokenFile = None,
    cacert: CaCert = None,
    output: Output = None,
    no_color: NoColor = None,
) -> None:
    """The global options, as any level of the command line may have them."""
    session().tell(url=url, token_file=token_file, cacert=cacert, output=output, no_color=no_color)


_EXTRA = tuple(inspect.signature(_globals, eval_str=True).parameters.values())


def _help(examples: Sequence[str]) -> inspect.Parameter:
    """``--help`` that ends with examples as they are to be typed, never wrapped."""

    def show(ctx: typer.Context, wanted: bool) -> None:
        if not wanted or ctx.resilient_parsing:
            return
        text = ctx.get_help()
        if text:
            print(text)
        if examples:
            print_examples(examples)
        raise typer.Exit

    option = typer.Option(
        "--help", "-h", is_eager=True, callback=show, help="Show this message and exit."
    )
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter("help", kind, default=False, annotation=Annotated[bool, option])


def print_examples(examples: Sequence[str]) -> None:
    print("Examples:", *(f"  {example}" for example in examples), sep="\n", end="\n\n")


def _with_globals(function: Callable[..., Any], examples: Sequence[str] = ()) -> Callable[..., Any]:
    hints = get_type_hints(function, include_extras=True)
    own = [
        parameter.replace(annotation=hints[parameter.name], kind=parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(function).parameters.values()
    ]
    extra = [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in _EXTRA]

    asked = _help(examples)

    @functools.wraps(function)
    def told(**given: Any) -> Any:
        del given["help"]
        _globals(**{parameter.name: given.pop(parameter.name) for parameter in extra})
        return function(**given)

    del told.__wrapped__  # type: ignore[attr-defined]
    told.__signature__ = inspect.Signature([*own, *extra, asked])  # type: ignore[attr-defined]
    told.__annotations__ = {item.name: item.annotation for item in (*own, *extra, asked)}
    return told


def noun(name: str, summary: str) -> typer.Typer:
    """A group of commands."""
    group = typer.Typer(name=name, help=summary, no_args_is_help=True, rich_markup_mode="rich")
    group.callback(add_help_option=False)(_with_globals(_nothing))
    return group


FIRST_STEPS = (
    "vxlanctl status",
    "vxlanctl vm add 52:54:00:00:00:01 --host compute-1 --ip 10.1.1.2 --name web-1",
    "vxlanctl why web-1 web-2",
    "vxlanctl --install-completion",
)


def root() -> typer.Typer:
    """The command itself."""
    app = typer.Typer(
        name="vxlanctl",
        help="Sees, asks and changes a VXLAN overlay, through its controller's REST API.",
        no_args_is_help=True,
        rich_markup_mode="rich",
    )
    app.callback(add_help_option=False)(_with_globals(_nothing_of_all, FIRST_STEPS))
    return app


def _nothing() -> None:
    return None


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"vxlanctl {own_version() or 'of no known version'}")
        raise typer.Exit


def _nothing_of_all(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=_show_version,
            help="Of vxlanctl itself; status has the controller's.",
        ),
    ] = False,
) -> None:
    return None


def command(
    group: typer.Typer, name: str, examples: Sequence[str], **options: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function a command: its docstring and these examples are its help."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        make = group.command(name, add_help_option=False, **options)
        make(_with_globals(function, examples))
        return function

    return register

"""The commands ``push``, ``pull`` and ``sync``: rows and results between this machine and a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ml_debugger.connect import Connection
    from ml_debugger.service.copying import Place
    from ml_debugger.service.spool import Spool, Waiting

__all__ = ["pull", "push", "sync"]

ModelName = Annotated[str, typer.Argument(help="Name of the model, as `mldebugger models` lists it.")]
VersionName = Annotated[str, typer.Argument(help="Version of the model.")]
Results = Annotated[
    list[str] | None,
    typer.Option("--result", help="Only this result, and no rows; repeat for several. Default: rows and all results."),
]
Home = Annotated[
    str | None, typer.Option(help="Workspace on this side. Default: the one in MLD_HOME.", show_default=False)
]
Endpoint = Annotated[
    str | None,
    typer.Option(help="The server; its key is read from MLD_API_KEY. Default: MLD_API_ENDPOINT.", show_default=False),
]


def push(
    model_name: ModelName,
    version_name: VersionName,
    result: Results = None,
    home: Home = None,
    endpoint: Endpoint = None,
) -> None:
    """Copy a model's version, or results of it, from a workspace to a server.

    What is there already is left alone: after an interruption, say it again. Everything is verified by checksums.
    """
    _copy(_here(home, create=False), _there(endpoint), (model_name, version_name), result)


def pull(
    model_name: ModelName,
    version_name: VersionName,
    result: Results = None,
    home: Home = None,
    endpoint: Endpoint = None,
) -> None:
    """Copy a model's version, or results of it, from a server to a workspace.

    What is there already is left alone: after an interruption, say it again. Everything is verified by checksums.
    """
    _copy(_there(endpoint), _here(home, create=True), (model_name, version_name), result)


def sync(
    list_only: Annotated[bool, typer.Option("--list", help="Only show what waits.")] = False,
) -> None:
    """Send rows that wait on this machine because their server was away.

    Sends what waits for the server and the organisation of the key in MLD_API_KEY, and names what waits for others.
    """
    from ml_debugger.service.spool import list_spools

    spools = list_spools()
    if list_only:
        _show([(spool, waiting) for spool in spools for waiting in spool.waiting()])
        return
    spools = [spool for spool in spools if spool.entries()]
    if not spools:
        typer.echo("Nothing waits.", err=True)
    done = [_sync_one(spool) for spool in spools]  # every one, whatever becomes of the others
    if not all(done):
        raise typer.Exit(1)


def _copy(source: Connection, target: Connection, names: tuple[str, str], only: list[str] | None) -> None:
    from ml_debugger.connect import place_of
    from ml_debugger.presentation.progress import progress_bar
    from ml_debugger.service.contract import RunKey
    from ml_debugger.service.copying import copy_result, copy_run

    run, (here, there) = RunKey(*names), (place_of(source), place_of(target))
    if not only:
        with progress_bar(f"Copying {run.model_name} {run.version_name}") as bar:
            done = copy_run(here, there, run, bar)
        rows = ", ".join(f"{count} rows of {kind}" for kind, count in done.rows.items())
        known = f"; {done.n_inputs_there} inputs were there already" if done.n_inputs_there else ""
        typer.echo(f"{rows} copied to {target.location}{known}", err=True)
    for name in only or _results_of(here, run):
        copy_result(here, there, name)
        typer.echo(f"result {name} is at {target.location}", err=True)


def _results_of(place: Place, run: Any) -> list[str]:
    names: list[str] = place.service.list_results(run, None, None, "all")["result_name"].to_pylist()
    return names


def _here(home: str | None, *, create: bool) -> Connection:
    from ml_debugger.connect import connect

    return connect("", home=home, create=create)


def _there(endpoint: str | None) -> Connection:
    from ml_debugger.connect import connect
    from ml_debugger.errors import ConfigError
    from ml_debugger.settings import read_setting

    chosen = read_setting("MLD_API_ENDPOINT", endpoint)
    if not chosen:
        raise ConfigError("no server is named: give its URL with --endpoint or in MLD_API_ENDPOINT")
    return connect(chosen)


def _sync_one(spool: Spool) -> bool:
    """Whether nothing is left to be sent or looked at."""
    from ml_debugger.connect import connect
    from ml_debugger.errors import MLDebuggerError
    from ml_debugger.presentation.progress import progress_bar
    from ml_debugger.service.syncing import send

    where = f"{spool.endpoint}, organisation {spool.organisation}"
    try:
        connection = connect(spool.endpoint)
        if connection.spool is None or connection.spool.organisation != spool.organisation:
            _complain(f"{where}: the key in MLD_API_KEY is of another organisation ({connection.location})", spool)
            return False
        with progress_bar(f"Sending to {where}") as bar:
            sent = send(spool, connection.service, _moves(bar))
    except MLDebuggerError as error:
        _complain(f"{where}: {error}", spool)
        return False
    typer.echo(f"{where}: {sent.n_rows} rows are stored", err=True)
    for reason in sent.refused:
        typer.secho(f"{where}: refused for good, put aside in {spool.folder}/refused: {reason}", fg="red", err=True)
    return not sent.refused


def _moves(bar: Callable[[str, float], None]) -> Callable[[int, int], None]:
    return lambda done, total: bar("rows", done / total)


def _complain(text: str, spool: Spool) -> None:
    typer.secho(f"error: {text}; {len(spool.entries())} files wait in {spool.folder}", fg="red", err=True)


def _show(found: list[tuple[Spool, Waiting]]) -> None:
    import datetime

    from ml_debugger.presentation.tables import moment, text_table

    if not found:
        typer.echo("Nothing waits.", err=True)
        return
    rows = [
        (
            spool.endpoint,
            spool.organisation,
            waiting.model_name,
            waiting.version_name,
            str(waiting.n_rows),
            f"{waiting.n_bytes / 2**20:.1f} MB",
            moment(datetime.datetime.fromtimestamp(waiting.since, datetime.UTC)),
            waiting.refused or "waits",
        )
        for spool, waiting in found
    ]
    titles = ("server", "organisation", "model", "version", "rows", "size", "since", "state")
    typer.echo(text_table(titles, rows, right=(4, 5)))
    for folder in dict.fromkeys(spool.folder for spool, _ in found):
        typer.echo(f"files: {folder}", err=True)

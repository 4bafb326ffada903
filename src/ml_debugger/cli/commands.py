"""The command ``mldebugger``: run the demo, look at models and results, select inputs, write reports.

Everything heavy is imported inside the command that needs it, so that ``mldebugger --help`` answers at once.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

from ml_debugger.cli.administration import db, keys
from ml_debugger.cli.moving import pull, push, sync
from ml_debugger.cli.selection import Choice, read_strategy, select, with_scores
from ml_debugger.cli.serve import serve
from ml_debugger.errors import MLDebuggerError, MLDebuggerWarning

if TYPE_CHECKING:
    from ml_debugger.connect import Connection

__all__ = ["app", "main"]

EXIT_ERROR: Final = 1
_HELP = """Find the unlabelled samples that your trained model gets wrong.

New here? Run  mldebugger demo  and look at the report that it writes.

The workspace is the folder or object-store URL in MLD_HOME (default ~/.mldebugger), or the one that the --home of a
command names. With MLD_API_ENDPOINT and MLD_API_KEY it is what the key sees at that server.
"""
_EPILOG = (
    "Exit codes: 0 done; 1 it could not be done, the message on stderr says why; 2 the command line is wrong. "
    "Results go to stdout, notes and warnings to stderr."
)


class _Commands(TyperGroup):
    """Turns errors and warnings that are meant for the user into lines on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        with _warnings_as_lines():
            try:
                return super().invoke(ctx)
            except MLDebuggerError as error:
                typer.secho(f"error: {error}", fg="red", err=True)
                raise typer.Exit(EXIT_ERROR) from error


app = typer.Typer(
    cls=_Commands,
    help=_HELP,
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(serve)
app.command()(push)
app.command()(pull)
app.command()(sync)
app.add_typer(keys, name="keys")
app.add_typer(db, name="db")

Home = Annotated[
    str | None,
    typer.Option(
        help="Workspace: a folder or an object-store URL. Default: the server in MLD_API_ENDPOINT, or MLD_HOME.",
        show_default=False,
    ),
]
ResultName = Annotated[str, typer.Argument(help="Name of a result, as `mldebugger results` lists it.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="File to write.")]
Count = Annotated[int, typer.Option("--n-data", "-n", min=1, help="How many inputs.")]
Strategy = Annotated[
    str | None,
    typer.Option(
        help="How to choose: high_error_proba (default), low_error_proba, diverse_error, coverage, badge, "
        "zone_balanced, random; or a strategy as JSON, for detectors a BBoxStrategy such as "
        '\'{"target_column": "det_error_proba", "top_n": 3}\'.',
        show_default=False,
    ),
]
Zones = Annotated[list[str] | None, typer.Option("--zone", help="Only this zone; repeat for several (any of them).")]
Conditions = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        help="Only what meets all of these, as in 'error_proba>=0.5,score<0.7'; repeat for alternatives. "
        "For detectors: only such boxes of an image or frame count.",
    ),
]
DatasetType = Annotated[str, typer.Option(help="Tag of the inputs to choose from.")]
Seed = Annotated[int, typer.Option(help="For strategies with a random part.")]
PoolAdaptive = Annotated[
    bool, typer.Option("--pool-adaptive", help="Let --where name error_proba_pool, recalibrated for this pool.")
]


IncludeEmpty = Annotated[
    bool, typer.Option("--include-empty", help="For detectors: inputs without a box that counts come last.")
]
BoxBudget = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="For detectors: at most so many predicted boxes on all inputs together, what labelling them costs.",
        show_default=False,
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(
        "--images", help="For detectors: a folder of images named after the input ids, to draw examples from."
    ),
]
Frames = Annotated[
    Path | None,
    typer.Option(
        "--frames", help="For detectors in 3D: a folder of point clouds named after the input ids, to draw examples on."
    ),
]


def main() -> None:
    """Entry point of the command."""
    app(prog_name="mldebugger")


def _show_version(wanted: bool) -> None:
    if wanted:
        from ml_debugger import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _about(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    del version  # shown by its own callback


@app.command()
def demo(
    name: Annotated[str, typer.Argument(help="classification, detection or detection3d.")] = "classification",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for pictures and report.")] = Path(
        "mldebugger-demo"
    ),
    home: Annotated[str | None, typer.Option(help="Keep the workspace here; default: a temporary one.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of active learning (classification).")] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="Times that active learning is repeated (classification).")] = 3,
) -> None:
    r"""Run the whole flow on real data, in two to three minutes.

    Needs the demo extra: pip install 'ml-debugger\[demo]'
    """
    # read when NumPy's linear algebra is loaded; on matrices this small more threads only wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from ml_debugger.demo import DemoOptions, run_demo

    run_demo(name, DemoOptions(output, rounds, seeds), typer.echo, home)


@app.command()
def models(home: Home = None) -> None:
    """List models with their versions, and the newest result of each."""
    from ml_debugger.presentation.tables import text_table

    connection = _connect(home)
    rows = _list_runs(connection)
    if not rows:
        typer.echo(f"No model was traced in the workspace {connection.location} yet.", err=True)
        return
    typer.echo(text_table(("model", "task", "version", "results", "newest result"), rows, right=(3,)))


@app.command()
def results(
    model_name: Annotated[str, typer.Argument(help="Name of the model, as `mldebugger models` lists it.")],
    version_name: Annotated[str, typer.Argument(help="Version of the model.")],
    home: Home = None,
) -> None:
    """List the results of a model and version, oldest first."""
    from ml_debugger.presentation.tables import moment, percent, text_table
    from ml_debugger.service.contract import RunKey

    connection = _connect(home)
    table = connection.service.list_results(RunKey(model_name, version_name), None, None, "all")
    if not table.num_rows:
        typer.echo(
            f"No result of model {model_name!r}, version {version_name!r} in {connection.location}: request an "
            "evaluation first, or see `mldebugger models` for the names.",
            err=True,
        )
        return
    rows = [
        (
            row["result_name"],
            row["method_name"],
            "-" if row["n_epoch"] is None else str(row["n_epoch"]),
            moment(row["completed_at"]),
            str(row["n_samples"]),
            percent(row["error_rate"]),
        )
        for row in table.to_pylist()
    ]
    typer.echo(text_table(("result", "method", "epoch", "completed", "rows", "error rate"), rows, right=(2, 4, 5)))


@app.command()
def show(result_name: ResultName, home: Home = None) -> None:
    """Show a result: zones, metrics against the baseline, notes."""
    from ml_debugger.evaluator import Result

    typer.echo(Result(_connect(home).service.get_result(result_name)).summary())


@app.command()
def report(
    result_name: ResultName,
    output: Output = Path("report.html"),
    images: Images = None,
    frames: Frames = None,
    home: Home = None,
) -> None:
    """Write a result as one HTML file that needs nothing else."""
    from ml_debugger.evaluator import Result

    result = Result(_connect(home).service.get_result(result_name))
    typer.echo(result.report(output, images=images, frames=frames))


@app.command()
def query(  # noqa: PLR0913  # an argument for each option of the command line
    result_name: ResultName,
    n_data: Count = 50,
    strategy: Strategy = None,
    zone: Zones = None,
    where: Conditions = None,
    dataset_type: DatasetType = "pool",
    seed: Seed = 0,
    pool_adaptive: PoolAdaptive = False,
    include_empty: IncludeEmpty = False,
    box_budget: BoxBudget = None,
    home: Home = None,
) -> None:
    """Print the ids of the inputs most worth a look, best first, one per line.

    Chooses from what a data filter has recorded with the weights that the result was learned from. Needs no model.

    Examples: mldebugger query RESULT -n 100;
    mldebugger query RESULT --zone critical_hotspot --where 'error_proba>=0.8'
    """
    how = read_strategy(strategy, zone, where)
    chosen = Choice(n_data, how, dataset_type, seed, pool_adaptive, include_empty, box_budget)
    for input_id in select(_connect(home).service, result_name, chosen)["input_id"]:
        typer.echo(str(input_id))


@app.command()
def export(  # noqa: PLR0913  # an argument for each option of the command line
    result_name: ResultName,
    output: Output,
    n_data: Count = 50,
    strategy: Strategy = None,
    zone: Zones = None,
    where: Conditions = None,
    dataset_type: DatasetType = "pool",
    seed: Seed = 0,
    pool_adaptive: PoolAdaptive = False,
    include_empty: IncludeEmpty = False,
    box_budget: BoxBudget = None,
    home: Home = None,
) -> None:
    """Write what `query` would choose, with scores and zones, as CSV (.csv) or JSON lines (.jsonl)."""
    from ml_debugger.presentation.files import find_format, write_text

    to_text = find_format(output)
    how = read_strategy(strategy, zone, where)
    chosen = Choice(n_data, how, dataset_type, seed, pool_adaptive, include_empty, box_budget)
    service = _connect(home).service
    frame = with_scores(service, result_name, chosen, select(service, result_name, chosen))
    path = write_text(output, to_text(frame))
    typer.echo(f"{frame['input_id'].nunique()} inputs in {path}", err=True)


def _connect(home: str | None) -> Connection:
    from ml_debugger.connect import connect

    return connect(home=home, create=False)  # a misspelt place must not become an empty workspace


def _list_runs(connection: Connection) -> list[tuple[str, ...]]:
    """Model, task, version, number of results, newest result."""
    from ml_debugger.connect import place_of
    from ml_debugger.service.contract import RunKey

    rows: list[tuple[str, ...]] = []
    for model in place_of(connection).copies.models():
        for version in model.versions:
            run = RunKey(model.model_name, version)
            names = connection.service.list_results(run, None, None, "all")["result_name"]
            newest = names[-1].as_py() if len(names) else "-"
            rows.append((model.model_name, model.schema.task, version, str(len(names)), newest))
    return rows


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Our own warnings as one line each on stderr; all others as usual."""

    def line(message: Warning | str, category: type[Warning], *position: Any, **rest: Any) -> None:
        if issubclass(category, MLDebuggerWarning):
            typer.secho(f"warning: {message}", fg="yellow", err=True)
        else:
            usual(message, category, *position, **rest)

    with warnings.catch_warnings():
        usual = warnings.showwarning
        warnings.showwarning = line
        yield

"""The tables as Markdown, the measurements as CSV, and the curves as a picture."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.active_learning.product import OURS
from benchmarks.active_learning.rivals import CONTROL
from benchmarks.active_learning.settings import SETTINGS
from benchmarks.active_learning.summary import Gain, Table, area, budget_gain, overall_gain, setting_gain, tabulate

__all__ = ["save", "write"]

REFERENCES = ("margin", "badge_reference")


def write(rows: Sequence[Mapping[str, Any]], folder: Path) -> str:
    """Write ``report.md``, ``accuracy.csv``, ``gains.csv`` and ``curves.png``; returns the report."""
    save(rows, folder)
    table = tabulate(rows)
    write_csv(folder / "gains.csv", gain_rows(table))
    text = "\n".join([*_intro(table), *_overall(table), *_by_setting(table), *_accuracies(table), *_times(rows)])
    (folder / "report.md").write_text(text)
    draw(table, folder / "curves.png")
    return text


def save(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """The measurements as ``accuracy.csv``: what the tables can be written again from."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "accuracy.csv", rows)


def gain_rows(table: Table) -> list[dict[str, Any]]:
    """Every difference to the control: per setting, and over all settings."""
    found = []
    for strategy in tested(table):
        gains = {name: setting_gain(table, name, strategy) for name in table.settings}
        for name, gain in {**gains, "all": overall_gain(table, strategy)}.items():
            found.append({"setting": name, "strategy": strategy, "gain": gain.mean, "low": gain.low, "high": gain.high})
    return found


def tested(table: Table) -> tuple[str, ...]:
    """Strategies but the control, best first."""
    others = [name for name in table.strategies if name != CONTROL]
    return tuple(sorted(others, key=lambda name: -overall_gain(table, name).mean))


def _intro(table: Table) -> list[str]:
    seeds = len(next(iter(table.accuracy.values())))
    lines = [
        f"# Active learning: {len(table.settings)} settings, {seeds} seeds",
        "",
        "Test accuracy in per cent, differences in points. Area = mean accuracy over the budget axis in powers of two. "
        f"Differences are to `{CONTROL}` and paired by seed, with 95 % intervals (Student's t over seeds; for these "
        "settings). **Bold**: the interval excludes zero. Ours are marked with *.",
        "",
    ]
    for name in table.settings:
        title = SETTINGS[name].title if name in SETTINGS else name
        lines.append(f"- `{name}`: {title}; labels {', '.join(map(str, table.budgets[name]))}")
    return [*lines, ""]


def _overall(table: Table) -> list[str]:
    n_budgets = {len(sizes) for sizes in table.budgets.values()}
    budgets = range(1, min(n_budgets))
    references = [name for name in REFERENCES if name in table.strategies]
    header = ["strategy", "area", *(f"budget {number}" for number in budgets), "wins", "losses", "worst setting"]
    header += [f"area against `{name}`" for name in references]
    lines = []
    for strategy in tested(table):
        gains = {name: setting_gain(table, name, strategy) for name in table.settings}
        worst = min(gains, key=lambda name: gains[name].mean)
        verdicts = [gain.verdict for gain in gains.values()]
        lines.append([
            _name(strategy), _points(overall_gain(table, strategy)),
            *(_points(budget_gain(table, strategy, number)) for number in budgets),
            str(verdicts.count(1)), str(verdicts.count(-1)), f"{worst} {100 * gains[worst].mean:+.2f}",
            *(_points(overall_gain(table, strategy, name)) if name != strategy else "-" for name in references),
        ])  # fmt: skip
    return ["## All settings together", "", *_markdown(header, lines), ""]


def _by_setting(table: Table) -> list[str]:
    lines = [
        [_name(strategy), *(_points(setting_gain(table, name, strategy)) for name in table.settings)]
        for strategy in tested(table)
    ]
    return ["## Difference of areas, by setting", "", *_markdown(["strategy", *table.settings], lines), ""]


def _accuracies(table: Table) -> list[str]:
    text = ["## Accuracy at each budget, mean of seeds", ""]
    for name in table.settings:
        lines = [
            [_name(strategy), *(f"{100 * value:.1f}" for value in table.accuracy[name, strategy].mean(axis=0)),
             f"{100 * area(table, name, strategy).mean():.2f}"]
            for strategy in (*tested(table), CONTROL)
        ]  # fmt: skip
        text += [f"### {name}", "", *_markdown(["strategy", *map(str, table.budgets[name]), "area"], lines), ""]
    return text


def _times(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    spent: dict[str, list[float]] = {}
    for row in rows:
        if row["seconds"] > 0:
            spent.setdefault(row["strategy"], []).append(row["seconds"])
    lines = [[_name(name), f"{np.median(seconds):.2f}"] for name, seconds in spent.items()]
    note = "Ours include tracing, evaluating and scoring the pool, unless another strategy's query had scored it."
    return ["## Seconds per query, median", "", note, "", *_markdown(["strategy", "seconds"], lines), ""]


def _name(strategy: str) -> str:
    return f"{strategy}*" if strategy in OURS else strategy


def _points(gain: Gain) -> str:
    if np.isnan(gain.low):
        return f"{100 * gain.mean:+.2f}"
    text = f"{100 * gain.mean:+.2f} [{100 * gain.low:+.2f}, {100 * gain.high:+.2f}]"
    return f"**{text}**" if gain.verdict else text


def _markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["--:"] * (len(header) - 1)]
    return ["| " + " | ".join(cells) + " |" for cells in (header, rule, *lines)]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Records of equal keys as a CSV file."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def draw(table: Table, path: Path) -> None:
    """One panel per setting: accuracy minus random's, by budget; ours solid, the others dashed."""
    from matplotlib.figure import Figure

    columns = min(4, len(table.settings))
    n_rows = -(-len(table.settings) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * n_rows + 0.8), layout="constrained")
    panels = figure.subplots(n_rows, columns, squeeze=False).ravel()
    for panel, name in zip(panels, table.settings, strict=False):
        control = table.accuracy[name, CONTROL].mean(axis=0)
        for number, strategy in enumerate(name for name in table.strategies if name != CONTROL):
            gains = 100 * (table.accuracy[name, strategy].mean(axis=0) - control)
            style = "-" if strategy in OURS else "--"
            panel.plot(table.budgets[name], gains, style, color=f"C{number}", marker="o", ms=3, label=_name(strategy))
        panel.axhline(0, color="black", lw=0.8)
        panel.set_xscale("log", base=2)
        panel.set_xticks(table.budgets[name], map(str, table.budgets[name]))
        panel.set_title(name)
        panel.set(xlabel="labels", ylabel="points above random")
    for panel in panels[len(table.settings) :]:
        panel.set_axis_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.savefig(path, dpi=130)

"""The outcome for people: Markdown, and tables in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from .catalog import PINNED
from .compare import losses, missing
from .outcome import Outcome
from .tables import Table, tables

__all__ = ["markdown", "show"]

_WIDTH = 200


def markdown(outcome: Outcome, plots: list[str]) -> str:
    """The whole report; ``plots`` are paths of pictures as the page sees them."""
    parts = ["# aiotask beside other task queues", _about(outcome)]
    parts += [f"![{path.rpartition('/')[2].removesuffix('.svg')}]({path})" for path in plots]
    first, *rest = tables(outcome)
    parts += _section(first)
    parts += ["## Where aiotask loses", "\n".join(f"- {line}" for line in [*_lost(outcome), *missing()])]
    for table in rest:
        parts += _section(table)
    return "\n\n".join(part for part in parts if part) + "\n"


def show(outcome: Outcome) -> None:
    """Print the same in the terminal."""
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH
    console.print(_about(outcome), highlight=False, markup=False)
    for table in tables(outcome):
        shown = RichTable(title=table.title, caption=table.note or None, title_justify="left", caption_justify="left")
        for place, head in enumerate(table.heads):
            shown.add_column(head, justify="left" if table.words or not place else "right", overflow="fold")
        for row in table.rows:
            shown.add_row(*(_styled(cell) for cell in row))
        console.print(shown)
    console.print("[bold]Where aiotask loses[/]")
    for line in [*_lost(outcome), *missing()]:
        console.print(f"- {line}", highlight=False, markup=False)


def _lost(outcome: Outcome) -> list[str]:
    return losses(outcome) or ["Measured: nowhere in this run."]


def _about(outcome: Outcome) -> str:
    about = outcome.about
    pythons = {row.python for row in outcome.rows}
    times = f"{about['repetitions']} repetition{'s' if about['repetitions'] > 1 else ''}"
    return (
        f"`{about.get('command', 'python -m benchmarks --peers')}`\n\n{about['date']}. "
        f"{about['machine']}. {about['server']}, "
        f"Python {' and '.join(sorted(pythons))}. "
        f"One interleaved run, medians (and ranges) of {times}"
        f"{', short ones' if about['quick'] else ''}; memory and import once, recovery twice at most. "
        f"Versions of {PINNED}. Compare ratios within this run, not figures with those of another machine."
    )


def _section(table: Table) -> list[str]:
    heads = [head or " " for head in table.heads]
    ruler = ["---" if table.words or not place else "--:" for place in range(len(heads))]
    lines = [heads, ruler, *([cell.replace("|", "\\|") for cell in row] for row in table.rows)]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return [f"## {table.title}", body, table.note]


def _styled(cell: str) -> str:
    """Bold as rich writes it; backticks are for Markdown."""
    text = escape(cell.replace("`", ""))
    if "**" in text:
        _, best, rest = text.split("**", 2)
        text = f"[bold green]{best}[/]{rest}"
    return f"[green]{text}[/]" if text.startswith("✓") else f"[red]{text}[/]" if text.startswith("✗") else text

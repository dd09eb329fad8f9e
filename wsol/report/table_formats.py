"""Format tables as text: Markdown, and LaTeX for booktabs."""

from collections.abc import Sequence
from itertools import groupby

from tabulate import tabulate

from wsol.report.content import Cell, Column, Table

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "−": "$-$",
    "τ": r"$\tau$",
    "δ": r"$\delta$",
    "–": "--",
    "≥": r"$\geq$",
    "×": r"$\times$",
    "|": r"\textbar{}",
    "[": "{[}",  # LaTeX would read [ or * at the start of a row as an argument of the \\ before it
    "*": "{*}",
}


def markdown(table: Table) -> str:
    """Format a GitHub table and its notes; the best of a column is bold, and headings mark oracles."""
    headers = [
        _markdown_text(f"oracle: {column.text}" if _is_oracle(column) else column.text) for column in table.columns
    ]
    cells = [[_markdown_cell(cell) for cell in row] for row in table.rows]
    text = tabulate(cells, headers, tablefmt="github", disable_numparse=True)
    return text + "\n\n" + "".join(f"- {note}\n" for note in table.notes)


def _is_oracle(column: Column) -> bool:
    """Return whether a heading must say that it is an oracle, as Markdown has no groups of columns."""
    return column.group.startswith("oracle") and column.text.endswith("(τ on test)")


def _markdown_text(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _markdown_cell(cell: Cell) -> str:
    text = _markdown_text(cell.text)
    return f"**{text}**" if cell.best else text


def latex(table: Table) -> str:
    r"""Format a `tabular` for `\input`, which needs `\usepackage{booktabs}` alone; the best of a column is bold."""
    lines = [f"% {' '.join(note.splitlines())}" for note in table.notes]
    lines += [rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}", r"\toprule"]
    if any(column.group for column in table.columns):
        lines += _group_lines(table.columns)
    lines.append(" & ".join(_latex_text(column.text) for column in table.columns) + r" \\")
    lines.append(r"\midrule")
    for place, row in enumerate(table.rows):
        if place and row[0].text != table.rows[place - 1][0].text:
            lines.append(r"\addlinespace")
        lines.append(" & ".join(_latex_cell(cell) for cell in row) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _group_lines(columns: Sequence[Column]) -> list[str]:
    heads, rules, start = [], [], 1
    for group, members in groupby(column.group for column in columns):
        count = len(list(members))
        heads.append(rf"\multicolumn{{{count}}}{{c}}{{{_latex_text(group)}}}")
        if group:
            rules.append(rf"\cmidrule(lr){{{start}-{start + count - 1}}}")
        start += count
    return [" & ".join(heads) + r" \\", " ".join(rules)]


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text.replace("\n", " "))


def _latex_cell(cell: Cell) -> str:
    text = _latex_text(cell.text)
    return rf"\textbf{{{text}}}" if cell.best else text

"""Tables as text, and LaTeX that LaTeX takes."""

import shutil
import subprocess

import pytest

from wsol.report.content import Cell, Column, Table
from wsol.report.table_formats import latex, markdown

HOSTILE = r"a_b & 50% $x$ #1 {y} ~ ^ \ <script>"
ORACLE = "oracle: τ on test"


def small_table(**options):
    columns = [
        Column("pooling"),
        Column("gt_known_loc (τ on val)"),
        Column("top1_cls"),
        Column("max_box_acc (τ on test)", ORACLE),
        Column("max_box_acc (τ on val)", ORACLE),
        Column("oracle − held out", ORACLE),
    ]
    rows = [
        [Cell("gap"), Cell("61.5 ± 2.7", 0.615, best=True), Cell("90.0"), Cell("70.0"), Cell("69.0"), Cell("+1.0")],
        [Cell("gmp"), Cell("9.0", 0.09), Cell("–"), Cell("50.0"), Cell("51.0"), Cell("−1.0")],
    ]
    return Table("scores", columns, rows, **options)


def cells_of(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_markdown_is_a_table_with_the_best_bold_and_oracles_reported():
    lines = markdown(small_table(notes=["First note.", "Second note."])).splitlines()
    assert cells_of(lines[0]) == [
        "pooling",
        "gt_known_loc (τ on val)",
        "top1_cls",
        "oracle: max_box_acc (τ on test)",  # the same at τ on val beside it is none
        "max_box_acc (τ on val)",
        "oracle − held out",
    ]
    assert set(lines[1]) == {"|", "-"}
    assert cells_of(lines[2]) == ["gap", "**61.5 ± 2.7**", "90.0", "70.0", "69.0", "+1.0"]
    assert cells_of(lines[3]) == ["gmp", "9.0", "–", "50.0", "51.0", "−1.0"]  # as printed: no 9, no 50
    assert lines[4:] == ["", "- First note.", "- Second note."]


def test_markdown_keeps_a_name_in_its_cell():
    table = Table("", [Column("a|b")], [[Cell("x | y\nz", best=True)], [Cell("0123")], [Cell("1e3")]])
    lines = markdown(table).splitlines()
    assert lines[0].strip("| ") == r"a\|b"
    assert lines[2].strip("| ") == r"**x \| y z**"
    assert [line.strip("| ") for line in lines[3:5]] == ["0123", "1e3"]


def test_latex_line_by_line():
    assert latex(small_table(notes=["A note."])).splitlines() == [
        "% A note.",
        r"\begin{tabular}{llllll}",
        r"\toprule",
        r"\multicolumn{3}{c}{} & \multicolumn{3}{c}{oracle: $\tau$ on test} \\",
        r"\cmidrule(lr){4-6}",
        r"pooling & gt\_known\_loc ($\tau$ on val) & top1\_cls & max\_box\_acc ($\tau$ on test)"
        r" & max\_box\_acc ($\tau$ on val) & oracle $-$ held out \\",
        r"\midrule",
        r"gap & \textbf{61.5 $\pm$ 2.7} & 90.0 & 70.0 & 69.0 & +1.0 \\",
        r"\addlinespace",
        r"gmp & 9.0 & -- & 50.0 & 51.0 & $-$1.0 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_latex_groups_span_their_columns():
    groups = ["", "a", "a", "", "", "b_1", "a"]
    table = Table("", [Column(str(place), group) for place, group in enumerate(groups)], [[Cell("x")] * 7])
    lines = latex(table).splitlines()
    assert lines[2] == (
        r"\multicolumn{1}{c}{} & \multicolumn{2}{c}{a} & \multicolumn{2}{c}{} & \multicolumn{1}{c}{b\_1} & "
        r"\multicolumn{1}{c}{a} \\"
    )
    assert lines[3] == r"\cmidrule(lr){2-3} \cmidrule(lr){6-6} \cmidrule(lr){7-7}"


def test_latex_without_groups_has_no_line_of_them():
    text = latex(Table("", [Column("a"), Column("b")], [[Cell("1"), Cell("2")], [Cell("1"), Cell("3")]]))
    assert "multicolumn" not in text
    assert "cmidrule" not in text
    assert "addlinespace" not in text  # both rows are of one pooling


def test_latex_escapes():
    text = latex(Table("", [Column(HOSTILE)], [[Cell(HOSTILE, best=True)]]))
    escaped = (
        r"a\_b \& 50\% \$x\$ \#1 \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{} \textless{}script"
        r"\textgreater{}"
    )
    assert escaped + r" \\" in text.splitlines()
    assert rf"\textbf{{{escaped}}} \\" in text.splitlines()


@pytest.mark.parametrize(("name", "printed"), [("[0.5]", "{[}0.5]"), ("*", "{*}"), ("a|b", r"a\textbar{}b")])
def test_a_name_is_no_argument_of_the_line_before(name, printed):
    lines = latex(Table("", [Column("a")], [[Cell("1")], [Cell(name)]])).splitlines()
    assert rf"{printed} \\" in lines


def test_a_note_of_several_lines_stays_a_comment():
    text = latex(Table("", [Column("a")], [[Cell("1")]], notes=["first\nsecond", "third\r\nfourth"]))
    assert text.split(r"\begin{tabular}")[0].splitlines() == ["% first second", "% third fourth"]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize(
    "name",
    [HOSTILE, r"\input{nowhere}", "$", "%", "\\", "{", "[0.5]", "*", "τ ± δ − – ≥ ×", "", "two\nlines"],
)
def test_latex_compiles_it(tmp_path, name):
    table = Table(
        name,
        [Column(name), Column(name, name), Column("oracle − held out", ORACLE), Column("top1_loc", ORACLE)],
        [
            [Cell(name), Cell(name, best=True), Cell("61.5 ± 2.7"), Cell("–")],
            [Cell("gap"), Cell(name), Cell("−1.0 ± 0.3", best=True), Cell("missing")],
            [Cell(name), Cell(name), Cell(name), Cell(name)],
        ],
        notes=[name, f"`{name}`"],
    )
    (tmp_path / "table.tex").write_text(latex(table), encoding="utf-8")
    document = (
        r"\documentclass{article}\usepackage{booktabs}\begin{document}" + "\n\\input{table}\n" + r"\end{document}"
    )
    (tmp_path / "document.tex").write_text(document, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "document.tex"],
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
    )
    said = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, said
    assert (tmp_path / "document.pdf").stat().st_size > 0
    assert "Missing character" not in said

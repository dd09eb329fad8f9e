"""Tables of everything under `results/runs`, made again from the saved rows alone.

python benchmarks/report.py [results] [text that a table's name must hold ...]
"""

import sys
from pathlib import Path

from wsol.reports import read_comparisons, write_tables


def main(arguments: list[str]) -> int:
    """Write and print every matching table; the exit status is 1 if there is none."""
    results, wanted = Path(arguments[0] if arguments else "results"), arguments[1:]
    found = 0
    for comparison in read_comparisons(results):
        if all(text in comparison.name for text in wanted):
            try:
                paths = write_tables(results, comparison, results / "tables")
            except ValueError as error:
                print(f"left out: {comparison.name}: {error}", file=sys.stderr)
                continue
            print(paths["md"].read_text(encoding="utf-8"))
            print(f"table: {paths['md']}\n")
            found += 1
    if not found:
        print(
            f"No saved rows under {results / 'runs'} match; make some with: python benchmarks/run.py", file=sys.stderr
        )
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/env python3
"""Copies the tables of bench/results/ into README.md, so that it quotes what was measured last.

    bench/readme.py [--check]

In README.md a table stands between <!-- table: cpu.md 1 --> (the file, and which of its tables) and
<!-- end of table -->. With --check nothing is written; the exit code is 1 when a table is out of date.
"""
import re
import sys

import report

MARKED = re.compile(r"(<!-- table: (\S+) (\d+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)


def main():
    readme = report.ROOT / "README.md"
    before = readme.read_text()

    def quoted(match):
        tables = TABLE.findall((report.RESULTS / match[2]).read_text())
        return f"{match[1]}\n{tables[int(match[3]) - 1]}\n{match[4]}"

    after = MARKED.sub(quoted, before)
    if "--check" in sys.argv[1:]:
        sys.exit(0 if after == before else "README.md quotes old tables; run bench/readme.py")
    readme.write_text(after)


if __name__ == "__main__":
    main()

"""What every table in bench/results/ says about itself: machine, date, commit, command."""
import datetime
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def commit():
    def git(*arguments):
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "format", "converters", "inspect", "runtime", "cli")
    return git("rev-parse", "--short", "HEAD") + (" with uncommitted changes" if changed else "")


def today():
    return datetime.date.today().isoformat()


def heading(title):
    import os

    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    arguments = [Path(part).name if part.startswith("/") else part for part in sys.argv[1:]]  # not where this machine keeps it
    command = " ".join([Path(sys.argv[0]).resolve().relative_to(ROOT).as_posix(), *arguments])
    return "\n".join([
        f"# {title}",
        "",
        f"- machine: {processor()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB",
        f"- date: {today()}",
        f"- commit: {commit()}",
        f"- command: `{command}`",
        "",
    ])


def table(header, rows):
    """Markdown with right-aligned columns but the first."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = []
    for index, row in enumerate(cells):
        padded = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        lines.append("| " + " | ".join(padded) + " |")
        if index == 0:
            rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
            lines.append("| " + " | ".join(rule) + " |")
    return "\n".join(lines) + "\n"


def write(name, *parts, quiet=False):
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / name
    path.write_text("\n".join(parts))
    if quiet:
        return
    print(path.read_text())
    print(f"written to {path.relative_to(ROOT)}")

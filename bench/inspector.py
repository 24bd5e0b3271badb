#!/usr/bin/env python3
"""What the inspector costs: headers beside gguf-dump, edits in place, scans beside the speed of memory, packing beside zstd.

    bench/inspector.py [header] [edit] [scan] [pack]     none: all of them
                       [--ingot build/ingot] [--gib 100] [--edit-gib 10] [--data-mib 1536] [--pack-mib 24] [--runs 20]

Each part replaces its section of bench/results/inspect.md and leaves the others. Files are sparse where their data does not matter;
`scan` needs three times --data-mib of disk and of page cache. Needs NumPy, for `header` gguf-dump (of the gguf package,
tests/interop/requirements.txt), for `pack` zstd. (Not inspect.py: that is a module of Python's own.)
"""
import argparse
import http.server
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import large_files
import report

N_TENSORS, N_TOKENS = 2000, 256_000
TITLES = {"header": "A header", "edit": "An edit in place", "scan": "Everything read", "pack": "Packed"}
options = None


def run(*arguments, codes=(0,)):
    """Seconds."""
    start = time.perf_counter()
    done = subprocess.run([str(part) for part in arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    seconds = time.perf_counter() - start
    if done.returncode not in codes:
        sys.exit(f"{' '.join(map(str, arguments))}: {done.stderr.decode()}")
    return seconds


def median(n_runs, *arguments, codes=(0,)):
    return statistics.median(run(*arguments, codes=codes) for _ in range(n_runs))


# A process counts the peak of the one that it was forked from, before it became another program: a small one starts it.
LAUNCHER = """import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, '/dev/null', os.O_WRONLY, 0)])
print(os.wait4(pid, 0)[2].ru_maxrss, file=sys.stderr)"""


def peak_mib(*arguments):
    done = subprocess.run([sys.executable, "-S", "-E", "-c", LAUNCHER, *map(str, arguments)], stderr=subprocess.PIPE, text=True, check=True)
    return int(done.stderr.split()[-1]) / 1024


# --- A header ---------------------------------------------------------------------------------------------------


class Server(http.server.BaseHTTPRequestHandler):
    """Ranges of one file, no faster than so many bytes a second."""
    path_served, bytes_per_second, sent = None, 0, 0
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        cls = type(self)
        size = cls.path_served.stat().st_size
        begin, end = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups())
        end = min(end + 1, size)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
        self.send_header("Content-Length", str(end - begin))
        self.end_headers()
        with open(cls.path_served, "rb") as file:
            file.seek(begin)
            start, n_sent = time.perf_counter(), 0
            while n_sent < end - begin:
                piece = file.read(min(65536, end - begin - n_sent))
                self.wfile.write(piece)
                n_sent += len(piece)
                cls.sent += len(piece)
                time.sleep(max(0, n_sent / cls.bytes_per_second - (time.perf_counter() - start)))

    def log_message(self, *_):
        pass


def header_part(folder):
    model = folder / "large.gguf"
    header = large_files.sparse_model(model, int(options.gib * 2**30), N_TENSORS, N_TOKENS)
    rows, ours = [], None
    for name, n_runs, arguments in (("ingot inspect", options.runs, (options.ingot, "inspect", model)),
                                    ("ingot inspect --json", options.runs, (options.ingot, "inspect", model, "--json")),
                                    ("gguf-dump, once", 1, (options.gguf_dump, model))):
        if not arguments[0]:
            continue
        seconds = median(n_runs, *arguments)
        ours = ours or seconds
        peak = peak_mib(*arguments) if n_runs > 1 else None
        rows.append([name, f"{1000 * seconds:.1f}", f"{peak:.0f}" if peak else "", f"{seconds / ours:.1f} ×"])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Server.path_served, Server.bytes_per_second = model, options.mbps * 1e6
    remote = run(options.ingot, "inspect", f"http://127.0.0.1:{server.server_port}/large.gguf")
    server.shutdown()
    return [f"A sparse file of {options.gib:.0f} GiB: {N_TENSORS:,} tensors, {N_TOKENS:,} tokens, a header of {header:,} bytes. "
            f"Medians of {options.runs} runs, program start and the whole report included.\n",
            report.table(["", "ms", "peak MiB", "of ingot inspect"], rows),
            f"By URL, from a server that sends {options.mbps:.0f} MB/s: {Server.sent:,} bytes fetched, {Server.sent - header:,} more than the "
            f"header, in {remote:.2f} s.\n"]


# --- An edit in place ---------------------------------------------------------------------------------------------


def edit_part(folder):
    model, template = folder / "edited.gguf", folder / "template.jinja"
    large_files.sparse_model(model, int(options.edit_gib * 2**30), N_TENSORS, N_TOKENS)
    times = []
    for i in range(options.runs):
        template.write_text("{{ messages }}" + "x" * (i + 1))
        times.append(1000 * run(options.ingot, "edit", model, "--chat-template", template))
    return [f"Another chat template for a sparse file of {options.edit_gib:.0f} GiB with the same header, whose size stays: {options.runs} runs, "
            "each writes other bytes and makes them durable (fsync).\n",
            report.table(["", "median ms", "slowest"], [["edit --chat-template", f"{statistics.median(times):.1f}", f"{max(times):.1f}"]])]


# --- Everything read ----------------------------------------------------------------------------------------------


def scan_part(folder):
    program = folder / "read_file"
    subprocess.run([os.environ.get("CXX", "c++"), "-std=c++20", "-O3", "-march=native", "-pthread", report.ROOT / "bench" / "read_file.cpp", "-o", program],
                   check=True)
    n_threads = len(os.sched_getaffinity(0))

    def reading(path, threads):
        return map(float, subprocess.run([program, path, str(threads)], check=True, capture_output=True, text=True).stdout.split())

    a, b = folder / "a.gguf", folder / "b.gguf"
    rows = []
    for name, kind in (("F16", large_files.F16), ("Q8_0", large_files.Q8_0), ("Q4_K", large_files.Q4_K)):
        large_files.dense_model(a, kind, options.data_mib * 2**20)
        shutil.copy(a, b)
        size = a.stat().st_size
        (limit, most), (of_one, _) = reading(a, n_threads), reading(a, 1)
        rows.append([f"{name}: plain reading", f"{limit / 1e9:.1f}", "", f"{100 * limit / most:.0f} %", f"one thread: {of_one / 1e9:.1f}"])
        for what, n_bytes, arguments, limited_by in (
                ("diff, of equal files", 2 * size, ("diff", a, b), ""),
                ("verify --deep", size, ("verify", "--deep", a), ""),
                ("hash --xxh3", 2 * size, ("hash", "--xxh3", a), "tensors and all data: both read everything"),
                ("hash --xxh3 --no-layer", size, ("hash", "--xxh3", "--no-layer", a), "one thread: a chain"),
                ("hash --sha256 --no-layer", size, ("hash", "--sha256", "--no-layer", a), "one thread: a chain")):
            if kind != large_files.F16 and what.startswith("hash"):
                continue  # bytes are bytes
            seconds = median(5, options.ingot, *arguments, codes=(0, 1))  # verify: keys are missing
            rate = n_bytes / seconds
            of_its_own = f"{limited_by}, {100 * rate / of_one:.0f} % of its reading" if "chain" in limited_by else limited_by
            rows.append([f"{name}: {what}", f"{rate / 1e9:.1f}", f"{100 * rate / limit:.0f} %", f"{100 * rate / most:.0f} %", of_its_own])
    a.unlink()
    b.unlink()
    trained, other = folder / "trained.gguf", folder / "other.gguf"
    large_files.trained_model(trained, large_files.F16, options.data_mib * 2**19 // 4)
    run(options.ingot, "quantize", trained, "-t", "Q8_0", "-o", other, "--allow-requantize")
    seconds = median(3, options.ingot, "diff", "--tensors", trained, other, codes=(0, 1))
    n_bytes = trained.stat().st_size + other.stat().st_size
    rows.append(["F16 against Q8_0: diff, decoded and measured", f"{n_bytes / seconds / 1e9:.1f}", f"{100 * n_bytes / seconds / limit:.0f} %",
                 f"{100 * n_bytes / seconds / most:.0f} %", f"{trained.stat().st_size / 2 / seconds / 1e9:.2f} billion pairs/s"])
    return [f"Files of {options.data_mib} MiB in the page cache, on {n_threads} threads; gigabytes of files a second, program start included, "
            "beside what reading alone reaches in the same run: plainly (each thread the next MiB of a mapping, or with pread), and the most (in "
            "four places of the mapping at once, which keeps more of memory busy). The best of five runs; the others: medians of five.\n",
            report.table(["", "GB/s", "of plain reading", "of the most", ""], rows)]


# --- Packed -------------------------------------------------------------------------------------------------------


def pack_part(folder):
    if not shutil.which("zstd"):
        sys.exit("`pack` needs zstd: apt-get install zstd")
    n_elements = options.pack_mib * 2**19
    files = {"F16": folder / "F16.gguf", "BF16": folder / "BF16.gguf", "Q8_0": folder / "Q8_0.gguf", "Q4_K": folder / "Q4_K.gguf"}
    large_files.trained_model(files["F16"], large_files.F16, n_elements)
    large_files.trained_model(files["BF16"], large_files.BF16, n_elements)
    for kind in ("Q8_0", "Q4_K"):
        run(options.ingot, "quantize", files["BF16"], "-t", kind, "-o", files[kind])
    rows, out, back = [], folder / "packed", folder / "unpacked"

    def measure(label, path, pack, unpack):
        size = path.stat().st_size
        out.unlink(missing_ok=True)
        seconds = run(*pack)
        packed = out.stat().st_size
        back.unlink(missing_ok=True)
        unpack_seconds = run(*unpack)
        if subprocess.run(["cmp", "-s", path, back]).returncode != 0:
            sys.exit(f"{label}: what was unpacked is another file")
        return [label, f"{100 * packed / size:.1f} %", f"{size / seconds / 1e6:.0f}", f"{size / unpack_seconds / 1e6:.0f}"]

    for kind, path in files.items():
        ours = lambda *more: ((options.ingot, "pack", path, "-o", out, "--force", *more),
                              (options.ingot, "unpack", out, "-o", back, "--force"))
        zstd = lambda *more: (("zstd", "-q", "-f", "-T0", *more, path, "-o", out), ("zstd", "-q", "-f", "-d", "--long=31", out, "-o", back))
        rows.append(measure(f"{kind}: ingot pack", path, *ours()))
        if kind in ("F16", "BF16"):
            rows.append(measure(f"{kind}: ingot pack --planes", path, *ours("--planes")))
        rows.append(measure(f"{kind}: zstd -T0 -3", path, *zstd("-3")))
        rows.append(measure(f"{kind}: ingot pack -l 19 --long", path, *ours("-l", "19", "--long")))
        rows.append(measure(f"{kind}: zstd -T0 -19 --long", path, *zstd("-19", "--long")))

    patches = []
    base, tuned = files["BF16"], folder / "tuned.gguf"
    large_files.trained_model(tuned, large_files.BF16, n_elements, tuned=True)
    requantized = folder / "requantized.gguf"
    for label, path, against in (("BF16, tuned: ingot pack --from", tuned, base),
                                 ("Q4_K of the tuned, against Q4_K of the base", requantized, files["Q4_K"]),
                                 ("Q8_0, against BF16 of the same", files["Q8_0"], base)):
        if path == requantized:
            run(options.ingot, "quantize", tuned, "-t", "Q4_K", "-o", requantized)
        patches += [measure(label, path, (options.ingot, "pack", path, "--from", against, "-o", out, "--force"),
                            (options.ingot, "unpack", out, "--from", against, "-o", back, "--force")),
                    measure("… zstd -T0 -3 --patch-from", path,
                            ("zstd", "-q", "-f", "-T0", "-3", "--long=31", f"--patch-from={against}", path, "-o", out),
                            ("zstd", "-q", "-f", "-d", "--long=31", f"--patch-from={against}", out, "-o", back)),
                    measure("… zstd -T0 -3", path, ("zstd", "-q", "-f", "-T0", "-3", path, "-o", out),
                            ("zstd", "-q", "-f", "-d", out, "-o", back))]
    columns = ["", "of its size", "MB/s packed", "MB/s unpacked"]
    return [f"{n_elements / 1e6:.0f} million weights, normally distributed, their deviation another for each row; megabytes of the unpacked file a "
            "second, program start and fsync included (zstd writes without fsync). Every file was unpacked and compared.\n",
            report.table(columns, rows),
            "Patches. The tuned model has one tensor in four as it was; the others' weights are moved by a thousandth of their deviation.\n",
            report.table(columns, patches)]


# --- The report ---------------------------------------------------------------------------------------------------


def sections(path):
    """What the report has, by title."""
    if not path.exists():
        return {}
    parts = re.split(r"^## (.*)\n", path.read_text(), flags=re.M)[1:]
    return {title: body.strip("\n") + "\n" for title, body in zip(parts[::2], parts[1::2])}


def main():
    global options
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=" ".join(TITLES))
    parser.add_argument("--ingot", default=str(report.ROOT / "build" / "ingot"))
    parser.add_argument("--gib", type=float, default=100)
    parser.add_argument("--edit-gib", type=float, default=10)
    parser.add_argument("--data-mib", type=int, default=1536)
    parser.add_argument("--pack-mib", type=int, default=24)
    parser.add_argument("--mbps", type=float, default=20)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--gguf-dump", default=shutil.which("gguf-dump"))
    options = parser.parse_args()
    wanted = options.parts or list(TITLES)
    if unknown := set(wanted) - set(TITLES):
        parser.error(f"no such part: {' '.join(unknown)}; there are {' '.join(TITLES)}")
    for part in wanted:
        with tempfile.TemporaryDirectory(dir=report.ROOT / "build") as folder:
            start = time.perf_counter()
            body = globals()[part + "_part"](Path(folder))
        print(f"{part}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
        # Each part of a report that grows says itself when it was made.
        changed = [f"--{name.replace('_', '-')} {getattr(options, name)}" for name in ("gib", "edit_gib", "data_mib", "pack_mib", "mbps", "runs")
                   if getattr(options, name) != parser.get_default(name)]
        command = " ".join(["bench/inspector.py", part, *changed])
        text = f"- date: {report.today()}\n- commit: {report.commit()}\n- command: `{command}`\n\n" + "\n".join(body)
        found = {**sections(report.RESULTS / "inspect.md"), TITLES[part]: text}
        machine = "\n".join(line for line in report.heading("Inspecting, comparing, editing, packing").splitlines()
                            if not line.startswith(("- date", "- commit", "- command")))
        report.write("inspect.md", machine + "\n",
                     *(f"## {title}\n\n{found[title]}" for title in TITLES.values() if title in found), quiet=part != wanted[-1])


if __name__ == "__main__":
    main()

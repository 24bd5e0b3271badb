#!/usr/bin/env python3
"""The header of a large file: `ingot inspect` beside gguf-dump; edits in place; diff, verify and hash against memory.

    bench/inspector.py [--ingot build/ingot] [--gib 100] [--edit-gib 10] [--data-mib 2048] [--runs 20]

Files are sparse where their data does not matter. gguf-dump comes with the gguf package (tests/interop/requirements.txt).
Memory bandwidth is what comparing two mapped files of that size reads, in as many threads as ingot has.
(Not inspect.py: that is a module of Python's own.)
"""
import argparse
import concurrent.futures
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import report

N_TENSORS, N_TOKENS = 2000, 256_000


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def large_file(path, size_bytes):
    """2,000 Q4_0 matrices of equal size over `size_bytes`, sparse, and a vocabulary of 256,000 tokens with scores."""
    columns = 4096
    rows = size_bytes // N_TENSORS // (columns // 32 * 18)
    tokens = b"".join(text(f"token{i:06}") for i in range(N_TOKENS))
    keys = [text("general.architecture") + struct.pack("<I", 8) + text("llama"),
            text("general.alignment") + struct.pack("<II", 4, 32),
            text("llama.block_count") + struct.pack("<II", 4, N_TENSORS // 10),
            text("llama.context_length") + struct.pack("<II", 4, 8192),
            text("llama.embedding_length") + struct.pack("<II", 4, columns),
            text("llama.attention.head_count") + struct.pack("<II", 4, 32),
            text("tokenizer.ggml.model") + struct.pack("<I", 8) + text("llama"),
            text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, N_TOKENS) + tokens,
            text("tokenizer.ggml.scores") + struct.pack("<IIQ", 9, 6, N_TOKENS) + bytes(4 * N_TOKENS),
            text("tokenizer.ggml.token_type") + struct.pack("<IIQ", 9, 5, N_TOKENS) + struct.pack("<i", 1) * N_TOKENS,
            text("tokenizer.chat_template") + struct.pack("<I", 8) + text("{{ messages }}"),
            text("ingot.spare") + struct.pack("<I", 8) + text(" " * 4096)]
    tensor_bytes = rows * columns // 32 * 18
    stride = (tensor_bytes + 31) // 32 * 32
    tensors = b"".join(text(f"blk.{i // 10}.tensor{i % 10}.weight") + struct.pack("<IQQIQ", 2, columns, rows, 2, i * stride)
                       for i in range(N_TENSORS))
    header = b"GGUF" + struct.pack("<IQQ", 3, N_TENSORS, len(keys)) + b"".join(keys) + tensors
    header += bytes(-len(header) % 32)
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(len(header) + N_TENSORS * stride)
    return len(header)


def run(*arguments):
    """Seconds and peak MiB."""
    start = time.perf_counter()
    process = subprocess.Popen([str(part) for part in arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        sys.exit(f"{arguments}: {process.stderr.read().decode()}")
    return seconds, usage.ru_maxrss / 1024


def median(n_runs, *arguments):
    runs = [run(*arguments) for _ in range(n_runs)]
    return statistics.median(r[0] for r in runs), max(r[1] for r in runs)


def bandwidth(a, b):
    """Bytes a second of both files, read by comparing them in memory, on all threads."""
    import numpy as np
    maps = [np.memmap(path, dtype=np.uint64, mode="r", shape=(Path(path).stat().st_size // 8,)) for path in (a, b)]
    n, n_threads = len(maps[0]), len(os.sched_getaffinity(0))
    step = 1 << 17
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(n_threads) as pool:
            def part(i):
                return all(np.array_equal(maps[0][at:at + step], maps[1][at:at + step])
                           for at in range(i * n // n_threads, (i + 1) * n // n_threads, step))
            assert all(pool.map(part, range(n_threads)))
        best = min(best, time.perf_counter() - start)
    return 2 * 8 * n / best


def data_file(path, mib):
    """Q8_0 data of random bytes; scales are of sensible size."""
    import numpy as np
    columns, n_tensors = 4096, 16
    rows = mib * 2**20 // n_tensors // (columns // 32 * 34)
    size = rows * columns // 32 * 34
    stride = (size + 31) // 32 * 32
    tensors = b"".join(text(f"blk.{i}.ffn_up.weight") + struct.pack("<IQQIQ", 2, columns, rows, 8, i * stride) for i in range(n_tensors))
    header = b"GGUF" + struct.pack("<IQQ", 3, n_tensors, 1) + text("general.architecture") + struct.pack("<I", 8) + text("none") + tensors
    header += bytes(-len(header) % 32)
    random = np.random.default_rng(1)
    with open(path, "wb") as file:
        file.write(header)
        for _ in range(n_tensors):
            blocks = random.integers(0, 256, (size // 34, 34), dtype=np.uint8)
            blocks[:, 1] = 0x20
            file.write(blocks.tobytes() + bytes(stride - size))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ingot", default=str(report.ROOT / "build" / "ingot"))
    parser.add_argument("--gib", type=float, default=100)
    parser.add_argument("--edit-gib", type=float, default=10)
    parser.add_argument("--data-mib", type=int, default=2048)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--gguf-dump", default=shutil.which("gguf-dump"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=report.ROOT / "build") as folder:
        folder = Path(folder)
        model = folder / "large.gguf"
        header = large_file(model, int(options.gib * 2**30))
        rows = []
        ours, ours_mib = median(options.runs, options.ingot, "inspect", model)
        rows.append(["ingot inspect", f"{1000 * ours:.1f}", f"{ours_mib:.0f}", ""])
        json_seconds, json_mib = median(options.runs, options.ingot, "inspect", model, "--json")
        rows.append(["ingot inspect --json", f"{1000 * json_seconds:.1f}", f"{json_mib:.0f}", ""])
        if options.gguf_dump:
            theirs, theirs_mib = median(3, options.gguf_dump, model)
            rows.append(["gguf-dump", f"{1000 * theirs:.0f}", f"{theirs_mib:.0f}", f"{theirs / ours:.0f} ×"])
        headers = report.table(["", "ms", "peak MiB", "of ingot's time"], rows)

        edited = folder / "edited.gguf"
        large_file(edited, int(options.edit_gib * 2**30))
        template = folder / "template.jinja"
        times = []
        for i in range(options.runs):
            template.write_text("{{ messages }}" + "x" * (i + 1))
            times.append(run(options.ingot, "edit", edited, "--chat-template", template)[0])
        edits = report.table(["", "ms"], [[f"edit --chat-template, {options.edit_gib:.0f} GiB, in place", f"{1000 * statistics.median(times):.1f}"]])

        a, b = folder / "a.gguf", folder / "b.gguf"
        data_file(a, options.data_mib)
        shutil.copy(a, b)
        size = a.stat().st_size
        limit = bandwidth(a, b)
        rates = [["memory, two files compared", f"{limit / 1e9:.1f}", "100 %"]]
        for what, n_bytes, arguments in (("diff", 2 * size, ("diff", a, b)), ("hash --xxh3 --no-layer", size, ("hash", "--xxh3", "--no-layer", a)),
                                         ("hash --xxh3", 2 * size, ("hash", "--xxh3", a)), ("hash --sha256 --no-layer", size, ("hash", "--sha256", "--no-layer", a)),
                                         ("verify --deep", size, ("verify", "--deep", a))):
            seconds, _ = median(3, options.ingot, *arguments)
            rates.append([what, f"{n_bytes / seconds / 1e9:.1f}", f"{100 * n_bytes / seconds / limit:.0f} %"])
        report.write("inspect.md", report.heading("Inspecting, comparing, editing"),
                     f"A sparse file of {options.gib:.0f} GiB: {N_TENSORS:,} tensors, {N_TOKENS:,} tokens, a header of {header:,} bytes. "
                     "Median of all runs, program start and the whole report included.\n", headers,
                     "A chat template changed, the file otherwise alike; every run writes other bytes and makes them durable.\n", edits,
                     f"Files of {size / 2**20:.0f} MiB in the page cache, Q8_0; gigabytes a second.\n",
                     report.table(["", "GB/s", "of memory"], rates))


if __name__ == "__main__":
    main()

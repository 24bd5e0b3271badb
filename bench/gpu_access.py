#!/usr/bin/env python3
"""What a GPU would do for the kernels' accesses to memory, counted by the emulator, and what nvcc makes of the kernels:
no GPU is needed for either.

    bench/gpu_access.py [--places] [--architecture 90a]

Needs build/bench/bench_gpu_access (configured with -DINGOT_BUILD_BENCH=ON). The second table is left out where nvcc and
cuobjdump are not on the PATH. Writes bench/results/gpu-access.md; with --places it prints the places in the kernels whose
accesses take more steps than their bytes need, and writes nothing.
"""
import argparse
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

import report

PROGRAM = report.ROOT / "build" / "bench" / "bench_gpu_access"
REGISTERS = 65536  # of a processor
# Bytes of weights for each instruction of a warp, where an H100 reads 3 TB/s: 132 processors of 4 schedulers, 1.75 GHz.
BUDGET = 3e12 / (132 * 4 * 1.75e9)


def counted(more):
    """Rows of the program's output: kernels' and places'."""
    lines = subprocess.run([PROGRAM, *more], check=True, capture_output=True, text=True).stdout.splitlines()
    kernels, places = [], []
    for line in lines:
        kind, *cells = line.split(",")
        (kernels if kind == "kernel" else places).append(cells)
    return kernels, places


def share(counts):
    _, size, steps, _ = counts
    return f"{100 * size / (32 * steps):.0f} %" if steps else ""


def repeats(counts):
    _, _, steps, least = counts
    return f"{steps / least:.2f}" if least else ""


def access_rows(kernels):
    rows = []
    for *case, kernel, numbers in ([*cells[:-21], cells[-21], [int(cell) for cell in cells[-20:]]] for cells in kernels):
        loads, stores, weights, group = (numbers[i:i + 4] for i in range(0, 16, 4))
        weight_bytes, exchanges, products, barriers = numbers[16:]
        row = [kernel, ",".join(case), loads[0], share(loads), stores[0], share(stores), share(weights),
               f"{32 * weights[2] / weight_bytes:.2f}" if weight_bytes else "", group[0] or "", repeats(group),
               exchanges or "", products or "", barriers or ""]
        if row not in rows:  # activations are made for many layouts
            rows.append(row)
    return rows


def functions(sass):
    """Names and instructions, (address, text), of a disassembly."""
    name, code = None, []
    for line in sass.splitlines():
        if found := re.search(r"Function : (\S+)", line):
            if name:
                yield name, code
            name, code = found.group(1), []
        elif found := re.match(r"\s+/\*([0-9a-f]{4,})\*/\s+(.*?);", line):
            code.append((int(found.group(1), 16), found.group(2)))
    if name:
        yield name, code


def main_loop(code):
    """The instructions of the longest loop."""
    places = {address: i for i, (address, _) in enumerate(code)}
    longest = []
    for i, (address, text) in enumerate(code):
        found = re.search(r"\bBRA\S*\s+(?:\S+,\s*)?`?\(?0x([0-9a-f]+)", text)
        if found and (first := int(found.group(1), 16)) < address:
            loop = [line for _, line in code[places[first]:i + 1]]
            longest = max(longest, loop, key=len)
    return longest


def plain(name):
    return re.sub(r"ENS.*", "", re.sub(r"^_ZN?\d*ingot7runtime3gpu\d+", "", name))


def compiled(architecture):
    """(kernel, registers, bytes spilled, instructions of the main loop) of each, and what the compiler calls itself."""
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernels.cubin"
        said = subprocess.run(
            ["nvcc", "-std=c++20", "-O3", "-fmad=false", f"-gencode=arch=compute_{architecture},code=sm_{architecture}",
             f"-I{report.ROOT}", "-cubin", "-o", cubin, report.ROOT / "runtime/cuda/kernels.cu", "-Xptxas=-v"],
            check=True, capture_output=True, text=True).stderr
        sass = subprocess.run(["cuobjdump", "-sass", cubin], check=True, capture_output=True, text=True).stdout
    registers, spilled, name = {}, {}, None
    for line in said.splitlines():
        if found := re.search(r"Compiling entry function '(\w+)'", line):
            name = plain(found.group(1))
        elif found := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spilled[name] = int(found.group(1)) + int(found.group(2))
        elif found := re.search(r"Used (\d+) registers", line):
            registers[name] = int(found.group(1))
    version = subprocess.run(["nvcc", "--version"], capture_output=True, text=True).stdout
    rows = [(plain(name), registers[plain(name)], spilled[plain(name)], main_loop(code)) for name, code in functions(sass)]
    return sorted(rows), re.search(r"release ([\d.]+)", version).group(1)


def compiled_rows(kernels, counts):
    """`counts`: bytes of weights that matvec of a layout read, and how many instructions its loads were: how many bytes a
    turn of its loop has follows from them."""
    rows = []
    for name, registers, spilled, loop in kernels:
        kind, _, layout = name.partition("_")
        groups = ""  # of 128 threads
        if kind in ("matvec", "matmul", "tile", "wide") and not layout.startswith("warpgroup"):
            groups = min(16, REGISTERS // (-(-registers // 8) * 8 * 128))
        budget = ""
        if kind == "matvec" and layout in counts:
            size = counts[layout]
            budget = f"{100 * BUDGET * len(loop) / size:.0f} %" if loop else ""
        rows.append([name, registers, spilled or "", groups, len(loop) or "", sum("LDL" in line or "STL" in line for line in loop) or "",
                     sum(re.search(r"\b[HIQ]G?MMA", line) is not None for line in loop) or "", budget])
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", action="store_true")
    parser.add_argument("--architecture", default="90a")
    options = parser.parse_args()
    kernels, places = counted(["--places"] if options.places else [])
    if options.places:
        print(report.table(["kernel", "case", "place", "kind", "instructions", "bytes", "steps", "least"],
                           [[cells[-7], ",".join(cells[:-7]), *cells[-6:]] for cells in places]))
        return
    parts = [
        report.heading("What a GPU would do for the kernels' accesses"),
        "No GPU has run these kernels yet, so there are no times. Counted by the emulator, exactly. "
        "Shapes are Llama 3 8B's with fewer rows. *Of sectors*: bytes that a warp "
        "asks for, each once, of the 32-byte sectors that it touches; a kernel that takes 16 bytes a lane in turns of 32 touches "
        "each sector twice, and finds it in the processor's cache the second time. *Again*: sectors of weights asked for, in "
        "relation to how many there are. *Passes*: of an access to the group's memory through its 32 banks, in relation to the "
        "least.\n",
        report.table(["kernel", "case", "loads", "of sectors", "stores", "of sectors", "weights, of sectors", "again",
                      "of group", "passes", "exchanges", "products", "barriers"], access_rows(kernels)),
    ]
    if shutil.which("nvcc") and shutil.which("cuobjdump"):
        rows, version = compiled(options.architecture)
        # A turn of the loop has two steps of 32 lanes by two rows, a step of a row being 1,024 weights, or 512 bytes of
        # numbers; of MXFP4 it has four steps of 256.
        sizes = defaultdict(int)
        for cells in kernels:
            kernel, numbers = cells[-21], [int(cell) for cell in cells[-20:]]
            if kernel.startswith("matvec_") and ",".join(cells[:-21]) == "1 token":
                layout = kernel.partition("_")[2]
                row_bytes = numbers[16] / 64  # of 4,096 weights
                sizes[layout] = 2048 if layout in ("F32", "F16", "BF16") else row_bytes / (2 if layout == "MXFP4" else 1)
        parts += [
            f"\n## What nvcc {version} makes of them for sm_{options.architecture}\n",
            "*Groups*: of a processor, as far as registers go, of products without warpgroups. *Loop*: instructions of the longest loop; spills and products of "
            f"matrices among them. *Of issue*: of a token's products, the share of the {1 / BUDGET:.2f} instructions that an H100 "
            "can issue for a byte of weights when it reads 3 TB/s; above 100 % instructions are what it waits for.\n",
            report.table(["kernel", "registers", "bytes spilled", "groups", "loop", "spills", "products", "of issue"],
                         compiled_rows(rows, sizes)),
        ]
    report.write("gpu-access.md", *parts, quiet=True)


if __name__ == "__main__":
    main()

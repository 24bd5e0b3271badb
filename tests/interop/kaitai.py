#!/usr/bin/env python3
"""format/gguf.ksy, compiled to Python by the Kaitai Struct compiler, beside `ingot inspect --json`.

    tests/interop/kaitai.py [--ingot build/ingot] [--compiler kaitai-struct-compiler]

Needs the compiler (https://kaitai.io; 0.9 or newer) and its runtime for Python (kaitaistruct==0.11). Every key, type, value, array and
tensor of two of our files must be what the compiled reader finds; and it must end where the header does.
"""
import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import CHECKPOINT, ROOT, Checks, Ingot

def compiled(compiler, folder):
    """The class that reads GGUF."""
    subprocess.run([compiler, "-t", "python", "--outdir", folder, ROOT / "format" / "gguf.ksy"], check=True)
    spec = importlib.util.spec_from_file_location("gguf_by_kaitai", Path(folder) / "gguf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Gguf


def plain(value):
    """What JSON has for it."""
    if hasattr(value, "elements"):
        return [plain(element) for element in value.elements]
    if hasattr(value, "n_bytes"):
        return value.bytes.decode()
    return value


def same(theirs, ours):
    if isinstance(theirs, list):
        return isinstance(ours, list) and len(theirs) == len(ours) and all(map(same, theirs, ours))
    if isinstance(theirs, float):
        return abs(theirs - ours) <= 1e-6 * abs(theirs)  # JSON has as many digits as a float needs
    return theirs == ours


def same_value(theirs, ours):
    if theirs.type.name == "array" and theirs.value.type.name != ours["element_type"]:
        return False
    return theirs.type.name == ours["type"] and same(plain(theirs.value), ours["value"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ingot", default=str(ROOT / "build" / "ingot"))
    parser.add_argument("--compiler", default=shutil.which("kaitai-struct-compiler"))
    options = parser.parse_args()
    if not options.compiler:
        sys.exit("kaitai-struct-compiler is not installed; see https://kaitai.io/#download")
    ingot, check = Ingot(options.ingot), Checks()
    with tempfile.TemporaryDirectory() as folder:
        Gguf = compiled(options.compiler, folder)
        for kind in ("Q4_K_M", "BF16"):
            path = Path(folder) / f"{kind}.gguf"
            ingot.run("convert", CHECKPOINT, "-t", kind, "-o", path)
            ingot.run("edit", path, "--set", "nested=[true,false]", "--set", "n=-3")
            ours = ingot.json("inspect", path, "--full")
            with Gguf.from_file(str(path)) as theirs:
                end = theirs._io.pos()
                keys = {entry.key.bytes.decode(): entry for entry in theirs.metadata}
                check(f"{kind}: the same keys", list(keys) == list(ours["metadata"]))
                wrong = [key for key, entry in keys.items() if not same_value(entry, ours["metadata"][key])]
                check(f"{kind}: the same values of {len(keys)} keys", not wrong, *wrong[:5])
                tensors = [(t.name.bytes.decode(), t.type.name.upper(), t.dimensions, t.offset) for t in theirs.tensors]
            start = ours["summary"]["data_offset_bytes"]
            expected = [(t["name"], t["type"], t["shape"], t["offset"] - start) for t in ours["tensors"]]
            check(f"{kind}: the same {len(expected)} tensors", tensors == expected, tensors[:1], expected[:1])
            check(f"{kind}: the header ends where it says", start - 32 < end <= start, end, start)
    check.finish()


if __name__ == "__main__":
    main()

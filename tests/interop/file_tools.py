#!/usr/bin/env python3
"""What `ingot edit`, `split`, `merge`, `pack`, `hash`, `inspect --npy` make, beside other programs.

    tests/interop/file_tools.py [--ingot build/ingot]

  1. Every file made by edit (in place and written anew), split, merge and unpack opens in gguf, with the same tensors, and
     loads in llama.cpp and predicts the same token (where llama-cpp-python is installed).
  2. `ingot hash` prints, line by line, what Python's hashlib and uuid make of gguf's bytes, in gguf-hash's form.
  3. `zstd -d` restores a packed file byte for byte, and Ingot reads what `zstd` packed (where zstd is installed).
  4. `--npy` holds the values that gguf decodes, in NumPy's own shape.
  5. `file -m format/gguf.magic` names a file (where file is installed).
"""
import argparse
import hashlib
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import gguf
import numpy as np

from checks import CHECKPOINT, ROOT, Checks, Ingot

try:
    from llama import Llama
except ImportError:
    Llama = None

PROMPT = [1, 50, 60, 70]
# gguf-hash's name space: uuid5 of the URL en.wikipedia.org/wiki/Llama.cpp.
NAME_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "en.wikipedia.org/wiki/Llama.cpp")


def tensors(path):
    """Name, type and bytes of every tensor, as gguf reads them; of all shards."""
    first = Path(path)
    parts = sorted(first.parent.glob(first.name.split("-00001-of-")[0] + "-*-of-*.gguf")) if "-of-" in first.name else [first]
    return [(t.name, int(t.tensor_type), bytes(t.data.tobytes())) for part in parts for t in gguf.GGUFReader(part).tensors]


def next_token(path):
    with Llama(path, 64, threads=1) as llama:
        return int(np.argmax(llama.logits(PROMPT)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ingot", default=str(ROOT / "build" / "ingot"))
    options = parser.parse_args()
    ingot, check = Ingot(options.ingot), Checks()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model = folder / "model.gguf"
        ingot.run("convert", CHECKPOINT, "-t", "Q8_0", "-o", model)
        expected = tensors(model)
        token = next_token(model) if Llama else None

        def opens(what, path):
            check(f"{what}: gguf reads the same tensors", tensors(path) == expected)
            if Llama:
                found = next_token(path)
                check(f"{what}: llama.cpp predicts the same token", found == token, f"{found}, not {token}")

        opens("convert, with spare bytes", model)
        edited = folder / "edited.gguf"
        shutil.copy(model, edited)
        report = ingot.run("edit", edited, "--set", "general.name=Another name", "--set", "my.list=[1,2,3]").decode()
        check("edit: in place", "in place" in report and edited.stat().st_size == model.stat().st_size)
        opens("edit in place", edited)
        field = gguf.GGUFReader(edited).get_field("general.name")
        check("edit: gguf reads the new value", field.contents() == "Another name", field.contents())
        template = folder / "template.jinja"
        template.write_text("{% for m in messages %}{{ m.content }}{% endfor %}" + " " * 9000)
        report = ingot.run("edit", edited, "--chat-template", template).decode()
        check("edit: written anew", "as a new file" in report)
        opens("edit written anew", edited)

        ingot.run("split", model, folder / "part", "--max-tensors", "20")
        first = folder / "part-00001-of-00003.gguf"
        opens("split", first)
        ingot.run("merge", first, folder / "merged.gguf")
        opens("merge", folder / "merged.gguf")
        check("merge: the file that was split, byte for byte", (folder / "merged.gguf").read_bytes() == model.read_bytes())

        packed = folder / "model.gguf.zst"
        ingot.run("pack", model, "-o", packed, "--frame-size", "100KiB")
        ingot.run("unpack", packed, "-o", folder / "unpacked.gguf")
        opens("unpack", folder / "unpacked.gguf")
        if shutil.which("zstd"):
            subprocess.run(["zstd", "-q", "-d", packed, "-o", folder / "by_zstd.gguf"], check=True)
            check("pack: zstd -d restores it", (folder / "by_zstd.gguf").read_bytes() == model.read_bytes())
            subprocess.run(["zstd", "-q", "-3", model, "-o", folder / "theirs.gguf.zst"], check=True)
            check("pack: Ingot reads what zstd packed", b"nothing" not in ingot.run("diff", model, folder / "theirs.gguf.zst"))

        lines = []
        kinds = {"sha1": hashlib.sha1, "sha256": hashlib.sha256}
        whole = {kind: make() for kind, make in kinds.items()}
        named = hashlib.sha1(NAME_SPACE.bytes)
        for name, _, data in expected:
            for kind, make in kinds.items():
                lines.append(f"{kind:<8}  {make(data).hexdigest()}  {model}:{name}")
                whole[kind].update(data)
            named.update(data)
        lines += [f"{kind:<8}  {total.hexdigest()}  {model}" for kind, total in whole.items()]
        lines.append(f"{'uuid':<8}  {uuid.UUID(bytes=named.digest()[:16], version=5)}  {model}")
        printed = ingot.run("hash", "--sha1", "--sha256", "--uuid", model).decode().splitlines()
        wrong = [f"{a} / {b}" for a, b in zip(printed, lines) if a != b]
        check("hash: sha1, sha256 and uuid are hashlib's", printed == lines, *wrong[:3])

        for name in ("token_embd.weight", "blk.0.attn_norm.weight"):
            out = folder / f"{name}.npy"
            ingot.run("inspect", model, "--tensor", name, "--npy", out)
            theirs = next(t for t in gguf.GGUFReader(model).tensors if t.name == name)
            values = gguf.dequantize(theirs.data, theirs.tensor_type)
            ours = np.load(out)
            check(f"npy: {name}", ours.dtype == np.float32 and np.array_equal(ours, values.reshape(ours.shape)))

        if shutil.which("file"):
            said = subprocess.run(["file", "-b", "-m", ROOT / "format" / "gguf.magic", model], capture_output=True, text=True).stdout.strip()
            n_keys = len(gguf.GGUFReader(model).fields) - 3  # gguf counts the preamble's three
            check("magic: file names it", said == f"GGUF model file, version 3, 56 tensors, {n_keys} keys", said)
    check.finish()


if __name__ == "__main__":
    main()

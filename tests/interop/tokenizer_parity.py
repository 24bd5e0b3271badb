#!/usr/bin/env python3
"""`ingot tokenize` against Hugging Face `tokenizers` and `sentencepiece`: ids of mixed text, and text of those ids.

Every kind of tokenizer (tokenizer_kinds.py) is trained here on the same text, saved beside a tiny checkpoint, converted by
`ingot convert`, and asked for the ids of every line, special tokens included, and then for the text of the ids that the
library gives. What `ingot export` writes is asked by its own library for the ids of the first lines. Nothing is fetched. The table goes to bench/results/tokenizer_parity.md.

    python3 tests/interop/tokenizer_parity.py --ingot build/ingot --prose heldout.txt
"""
import argparse
import base64
import json
import os
import random
import struct
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("RAYON_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import sentencepiece
import tiktoken
import tokenizers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import tokenizer_kinds
from checks import ROOT, Ingot
from mixed_text import MixedText
from tokenizer_kinds import SENTENCEPIECE, SPECIALS, TOKENIZERS

sys.path.insert(0, str(ROOT / "bench"))
import report  # noqa: E402

SEPARATOR = b"\n__next__\n"
SENTENCEPIECE_TRAINING_LINES = 4000  # its trainers take minutes for more, and learn nothing that matters here


# --- Text ---------------------------------------------------------------------------------------------------------

def mixed_lines(options):
    """Lines to train with, and other lines to ask about."""
    prose = options.prose.read_text(encoding="utf-8").split("\n") if options.prose else []
    training = MixedText(1, prose)
    asked = MixedText(2, prose, SPECIALS + ["wordly", "<right>", "Pierre", "▁▁"])
    lines = (asked.line() for _ in range(options.lines))
    return ([training.line() for _ in range(options.training_lines)],
            [line for line in lines if SEPARATOR not in f"\n{line}\n".encode()])


def damaged(lines, seed=3):
    """The lines in UTF-8 with bytes changed, left out and put in."""
    chance = random.Random(seed)
    result = []
    for line in lines:
        text = bytearray(line.encode())
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(text) + 1)
            kind = chance.randrange(3)
            if kind == 0:
                del text[at:at + 1]
            else:
                text[at:at + kind - 1] = bytes(chance.choice([0x80, 0xBF, 0xC0, 0xC3, 0xE2, 0xED, 0xF0, 0xF5, 0xFF])
                                               for _ in range(chance.randint(1, 3)))
        if SEPARATOR not in b"\n" + text + b"\n":
            result.append(bytes(text))
    return result


# --- The library's side -------------------------------------------------------------------------------------------

def byte_alphabet():
    """The characters that GPT-2's vocabulary writes for bytes."""
    letters = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in letters]
    return {chr(byte): byte for byte in letters} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


class HuggingFace:
    """A trained tokenizer.json, read back from the file as any reader gets it."""

    control_texts = []

    def __init__(self, make, folder, training):
        file = folder / "tokenizer.json"
        if not file.exists():
            tokenizer_kinds.train_hugging_face(make, training).save(str(file))
        self.tokenizer = Tokenizer.from_file(str(file))
        self.n_tokens = self.tokenizer.get_vocab_size()
        state = json.loads(file.read_text(encoding="utf-8"))
        steps = state["pre_tokenizer"] or {}
        kinds = [step["type"] for step in steps.get("pretokenizers", [steps]) if step]
        # Bytes in, bytes out: what every id stands for can be read off its text.
        self.is_lossless = "ByteLevel" in kinds and not state["normalizer"] and not state["post_processor"] \
            and all(not added["lstrip"] and not added["rstrip"] for added in state["added_tokens"])

    def encode(self, lines):
        return [encoding.ids for encoding in self.tokenizer.encode_batch(lines)]

    def decode(self, ids, special):
        return self.tokenizer.decode_batch(ids, skip_special_tokens=not special)

    def piece(self, token):
        return self.tokenizer.id_to_token(token)

    def differences_of_damaged(self, texts, found):
        """The library takes no bytes that are not UTF-8. Where tokens are bytes, they must be those of the text."""
        if not self.is_lossless:
            return None
        alphabet = byte_alphabet()
        meaning = [bytes(alphabet[character] for character in self.piece(token)) for token in range(self.n_tokens)]
        return [i for i, (text, ids) in enumerate(zip(texts, found)) if b"".join(meaning[token] for token in ids) != text]


class SentencePiece:
    control_texts = []

    def __init__(self, options, folder, corpus):
        file = folder / "tokenizer.model"
        if not file.exists():
            tokenizer_kinds.train_sentencepiece(folder, corpus, options)
        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(file))
        (folder / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": False, "add_eos_token": False}))
        self.n_tokens = self.processor.vocab_size()

    def encode(self, lines):
        return self.processor.encode(lines)

    def decode(self, ids, special):
        return None if special else self.processor.decode(ids)  # it never shows control symbols

    def piece(self, token):
        return self.processor.id_to_piece(token)

    def differences_of_damaged(self, texts, found):
        return [i for i, (text, ids) in enumerate(zip(texts, found)) if self.processor.encode(text) != ids]


class Gpt2Files(HuggingFace):
    """vocab.json and merges.txt; the library has the tokenizer.json of another kind."""

    def __init__(self, kind, folder, work):
        super().__init__(None, work / kind, None)
        self.tokenizer.model.save(str(folder))
        (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
        self.tokenizer = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
        self.tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.tokenizer.decoder = decoders.ByteLevel()


class RankedBytes:
    """tiktoken's list of byte strings, of the merges of another kind. tiktoken itself encodes and decodes."""

    control_texts = []

    def __init__(self, kind, folder, work):
        state = json.loads((work / kind / "tokenizer.json").read_text(encoding="utf-8"))
        alphabet = byte_alphabet()
        texts = sorted(alphabet, key=alphabet.get)
        texts += dict.fromkeys("".join(merge if isinstance(merge, list) else merge.split(" ")) for merge in state["model"]["merges"])
        self.ranks = {bytes(alphabet[character] for character in text): rank for rank, text in enumerate(texts)}
        self.n_before = 0
        self.write(folder)
        self.encoding = tiktoken.Encoding("ranks", pat_str=self.pattern, mergeable_ranks=self.ranks, special_tokens={})
        self.n_tokens = self.n_before + len(self.ranks)

    def encode(self, lines):
        return [[self.n_before + token for token in self.encoding.encode_ordinary(line)] for line in lines]

    def decode(self, ids, special):
        return [self.encoding.decode([token - self.n_before for token in each]) for each in ids]

    def piece(self, token):
        return self.encoding.decode_single_token_bytes(token - self.n_before)

    def differences_of_damaged(self, texts, found):
        return [i for i, (text, ids) in enumerate(zip(texts, found)) if b"".join(map(self.piece, ids)) != text]


class Tiktoken(RankedBytes):
    pattern = tokenizer_kinds.CL100K

    def write(self, folder):
        (folder / "cl100k_base.tiktoken").write_text(
            "".join(f"{base64.b64encode(text).decode()} {rank}\n" for text, rank in self.ranks.items()))


class Tekken(RankedBytes):
    pattern = tokenizer_kinds.O200K
    control_texts = ["<unk>", "<s>", "</s>"]

    def write(self, folder):
        self.n_before = 10
        vocab = [{"rank": rank, "token_bytes": base64.b64encode(text).decode()} for text, rank in self.ranks.items()]
        config = {"pattern": self.pattern, "default_vocab_size": len(vocab) + 10, "default_num_special_tokens": 10}
        (folder / "tekken.json").write_text(json.dumps({"config": config, "vocab": vocab}))
        (folder / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": False}))


# --- Ingot's side -------------------------------------------------------------------------------------------------

def write_tiny_checkpoint(folder, n_rows):
    """A llama of one layer and two heads, all zeros: something to convert beside the tokenizer."""
    width, inner = 32, 32
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": width, "intermediate_size": inner,
              "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": n_rows,
              "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(config))
    shapes = {"model.embed_tokens.weight": [n_rows, width], "model.norm.weight": [width]}
    layer = "model.layers.0."
    for name in "qkvo":
        shapes[f"{layer}self_attn.{name}_proj.weight"] = [width, width]
    for name in ("gate", "up"):
        shapes[f"{layer}mlp.{name}_proj.weight"] = [inner, width]
    shapes[f"{layer}mlp.down_proj.weight"] = [width, inner]
    for name in ("input_layernorm", "post_attention_layernorm"):
        shapes[f"{layer}{name}.weight"] = [width]
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2
        for dimension in shape:
            size *= dimension
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))


class IngotTokenizer:
    def __init__(self, program, folder, n_rows, reads_special):
        self.ingot, self.folder, self.model = Ingot(program), folder, folder / "model.gguf"
        self.arguments = ["--special"] if reads_special else []
        write_tiny_checkpoint(folder, n_rows)
        self.ingot.run("convert", folder, "-o", self.model, "-t", "f16", "--threads", 1, "--force")
        self.ingot.run("verify", self.model, "--threads", 1)

    def encode_bytes(self, texts):
        file = self.folder / "texts.bin"
        file.write_bytes(b"".join(text + SEPARATOR for text in texts))
        output = self.ingot.run("tokenize", self.model, "--each", SEPARATOR.decode(), "-f", file, *self.arguments)
        file.unlink()
        return [[int(token) for token in line.split()] for line in output.decode().split("\n")[:-1]]

    def ask(self, key, values, *arguments):
        file = self.folder / "questions.jsonl"
        with file.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps({key: value}, ensure_ascii=False) + "\n" for value in values)
        output = self.ingot.run("tokenize", self.model, "--json-lines", "-f", file, *arguments)
        file.unlink()
        return [json.loads(line) for line in output.decode().split("\n")[:-1]]

    def encode(self, lines):
        return [answer["ids"] for answer in self.ask("text", lines, *self.arguments)]

    def decode(self, ids, special):
        return [answer["text"] for answer in self.ask("ids", ids, *(["--special"] if special else []))]

    def encode_exported(self, lines):
        """By the library whose file `ingot export` writes."""
        target = self.folder / "exported"
        self.ingot.run("export", self.model, target, "--force")
        if (target / "tokenizer.json").exists():
            tokenizer = tokenizers.Tokenizer.from_file(str(target / "tokenizer.json"))
            return [encoding.ids for encoding in tokenizer.encode_batch(lines)]
        return sentencepiece.SentencePieceProcessor(model_file=str(target / "tokenizer.model")).encode(lines)


# --- Comparison ---------------------------------------------------------------------------------------------------

def differences(expected, found):
    if len(expected) != len(found):
        sys.exit(f"{len(found)} answers came back, expected {len(expected)}")
    return [i for i, (a, b) in enumerate(zip(expected, found)) if a != b]


def show_ids(line, expected, found, piece):
    first = next((k for k, (a, b) in enumerate(zip(expected, found)) if a != b), min(len(expected), len(found)))
    print(f"        {line[:200]!r}\n        expected {[piece(token) for token in expected[first:first + 8]]}"
          f"\n        found    {[piece(token) for token in found[first:first + 8]]}")


def show_texts(ids, expected, found, piece):
    first = next((k for k, (a, b) in enumerate(zip(expected, found)) if a != b), min(len(expected), len(found)))
    print(f"        {[piece(token) for token in ids[:24]]} at {first}\n        expected {expected[max(0, first - 8):first + 24]!r}"
          f"\n        found    {found[max(0, first - 8):first + 24]!r}")


def compare(name, library, ingot, lines, damaged_lines, n_exported):
    """A row of the table, and whether all of it is equal. A tokenizer.json finds control tokens in every text; a library that
    was asked for ordinary text doesn't: its `control_texts`, and lines that contain them are not asked of what is exported."""
    ids = library.encode(lines)
    found = ingot.encode(lines)
    wrong_ids = differences(ids, found)
    for i in wrong_ids[:3]:
        show_ids(lines[i], ids[i], found[i], library.piece)
    wrong_texts, n_texts = set(), 0
    for special in (False, True):
        expected = library.decode(ids, special)
        if expected is None:
            continue
        texts = ingot.decode(ids, special)
        wrong = differences(expected, texts)
        for i in wrong[:3]:
            show_texts(ids[i], expected[i], texts[i], library.piece)
        wrong_texts.update(wrong)
    found = ingot.encode_bytes(damaged_lines)
    if len(found) != len(damaged_lines):
        sys.exit(f"{name}: {len(found)} lines came back of {len(damaged_lines)}")
    wrong_damaged = library.differences_of_damaged(damaged_lines, found)
    for i in (wrong_damaged or [])[:3]:
        print(f"        invalid UTF-8: {damaged_lines[i][:200]}\n        found {[library.piece(token) for token in found[i][:24]]}")
    asked = [i for i in range(min(n_exported, len(lines))) if not any(text in lines[i] for text in library.control_texts)]
    wrong_exported = differences([ids[i] for i in asked], ingot.encode_exported([lines[i] for i in asked]))
    for i in wrong_exported[:3]:
        print(f"        exported: {lines[asked[i]][:200]!r}")
    row = [name, library.n_tokens, f"{len(lines) - len(wrong_ids):,} of {len(lines):,}",
           f"{len(lines) - len(wrong_texts):,} of {len(lines):,}",
           "–" if wrong_damaged is None else f"{len(damaged_lines) - len(wrong_damaged):,} of {len(damaged_lines):,}",
           f"{len(asked) - len(wrong_exported):,} of {len(asked):,}"]
    return row, not (wrong_ids or wrong_texts or wrong_damaged or wrong_exported)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ingot", default=ROOT / "build" / "ingot", help="the program (default: build/ingot)")
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--export-lines", type=int, default=5_000, help="lines for the exported tokenizer (default: 5000)")
    parser.add_argument("--training-lines", type=int, default=10_000)
    parser.add_argument("--prose", type=Path, help="lines of real text to mix in")
    parser.add_argument("--only", nargs="*", help="names of tokenizers; the table stays as it is")
    parser.add_argument("--keep", type=Path, help="folder for what is trained and converted; tokenizers in it are not trained again")
    options = parser.parse_args()

    training, lines = mixed_lines(options)
    damaged_lines = damaged(lines[:len(lines) // 5])
    kinds = {make.__name__: (HuggingFace, make, training) for make in TOKENIZERS}
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.keep or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        corpus = work / "corpus.txt"
        common = tokenizer_kinds.of_common_characters(training[:SENTENCEPIECE_TRAINING_LINES])
        corpus.write_bytes("\n".join(" ".join(line.replace("\0", "").split("\n")) for line in common).encode())
        (work / "lines.txt").write_bytes(b"".join(line.encode() + SEPARATOR for line in lines))  # for bench/tokenizer.py
        kinds |= {name: (SentencePiece, each, corpus) for name, each in SENTENCEPIECE.items()}
        kinds |= {"gpt2_files": (Gpt2Files, "gpt2", work), "tiktoken": (Tiktoken, "cl100k", work), "tekken": (Tekken, "o200k", work)}
        rows, all_equal = [], True
        for name, (library, what, source) in kinds.items():
            if options.only and name not in options.only:
                continue
            folder = work / name
            folder.mkdir(exist_ok=True)
            trained = library(what, folder, source)
            ingot = IngotTokenizer(options.ingot, folder, trained.n_tokens, issubclass(library, HuggingFace))
            row, equal = compare(name, trained, ingot, lines, damaged_lines, options.export_lines)
            print("ok     " if equal else "FAILED ", *row, flush=True)
            rows.append(row)
            all_equal &= equal
    if not options.only:
        report.write("tokenizer_parity.md", report.heading("Tokenizers beside their own libraries"), explanation(options, lines),
                     report.table(["tokenizer", "tokens", "ids equal", "texts equal", "invalid UTF-8", "exported, ids equal"], rows))
    sys.exit(0 if all_equal else 1)


def explanation(options, lines):
    return (f"Lines on which `ingot tokenize` gives the ids of the library, and for these ids the text of the library (with control "
            f"tokens shown and hidden): prose, code, forty scripts, emoji, odd spaces, control characters, special tokens in text; "
            f"{sum(len(line.encode()) for line in lines) / 1e6:.1f} MB. tokenizers {tokenizers.__version__}, sentencepiece "
            f"{sentencepiece.__version__} (names with spm), tiktoken {tiktoken.__version__} (for tiktoken and tekken). Each was trained by its library on {options.training_lines:,} "
            f"(SentencePiece: {SENTENCEPIECE_TRAINING_LINES:,}) other lines and converted by `ingot convert`.\n"
            "\nInvalid UTF-8: lines with bytes changed, left out or put in. SentencePiece takes such text; its ids are compared. "
            "The others do not: where tokens are bytes and nothing is normalized, the bytes of the ids have to be those of the line; "
            "the rest only has to come through.\n"
            "\nExported: the ids by the library, with the tokenizer that `ingot export` writes.\n")


if __name__ == "__main__":
    main()

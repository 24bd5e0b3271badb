#!/usr/bin/env python3
"""Ids of `ingot tokenize` against Hugging Face `tokenizers` and `sentencepiece`, on lines of mixed text.

Every kind of tokenizer is trained here on the same text, saved beside a tiny random checkpoint, converted, and
asked for the ids of every line, special tokens included; then exported, and what was exported is asked by its own
library for the ids of the first lines. Nothing is fetched.

    python3 tests/interop/tokenizer_parity.py --ingot build/ingot --prose heldout.txt
"""
import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from pathlib import Path

os.environ.setdefault("RAYON_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from mixed_text import MixedText

SEPARATOR = "\n__next__\n"
VOCABULARY = 8000
SPECIALS = ["<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>", "<mask>", "<tool>"]

GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
LLAMA3 = (r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CL100K = (r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+""")
O200K = "|".join([
    r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
    r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
    r"""\p{N}{1,3}""", r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""", r"""\s*[\r\n]+""", r"""\s+(?!\S)""", r"""\s+"""])
DEEPSEEK3 = [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
             r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""]


# --- Tokenizers of Hugging Face's library -------------------------------------------------------------------------

def added(*more):
    return [AddedToken(text, special=True, normalized=False) for text in SPECIALS] + list(more)


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert=invert)


def byte_level(*steps, normalizer=None, prefix_space=False, ignore_merges=False, use_regex=False, **model):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges, **model))
    if normalizer:
        tokenizer.normalizer = normalizer
    last = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=use_regex)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, last]) if steps else last
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=added(), show_progress=False,
                                          initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


def template(tokenizer, single, pair=None):
    names = [name for name in single.split() if name not in ("$A", "$B")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=pair or f"{single} $B:1", special_tokens=[(name, tokenizer.token_to_id(name)) for name in set(names)])


def gpt2():
    return byte_level(use_regex=True)


def llama3():
    return (*byte_level(split(LLAMA3), ignore_merges=True), lambda tokenizer: template(tokenizer, "<s> $A"))


def qwen2():
    return byte_level(split(QWEN2), normalizer=normalizers.NFC())


def cl100k():
    return byte_level(split(CL100K, "removed", invert=True))


def o200k():
    return byte_level(split(O200K), normalizer=normalizers.NFKC())


def deepseek3():
    return byte_level(*[split(pattern) for pattern in DEEPSEEK3])


def falcon():
    tokenizer, trainer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        pre_tokenizers.Digits(individual_digits=False), split("[0-9][0-9][0-9]")])
    return tokenizer, trainer


def roberta():
    def finish(tokenizer):
        tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
        tokenizer.add_tokens([AddedToken("wordly", single_word=True), AddedToken("<right>", rstrip=True), AddedToken("Pierre", normalized=True)])
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", tokenizer.token_to_id("</s>")), ("<s>", tokenizer.token_to_id("<s>")))
    return (*byte_level(use_regex=True, prefix_space=True), finish)


def clip():
    tokenizer, trainer = byte_level(
        split(r"<\|im_start\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", "removed", invert=True),
        normalizer=normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]),
        end_of_word_suffix="</w>", unk_token="<unk>")
    return tokenizer, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=added(), show_progress=False, end_of_word_suffix="</w>",
                                          initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def fallback_bpe(normalizer=None, pre_tokenizer=None):
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    if normalizer:
        tokenizer.normalizer = normalizer
    # Trained on words: merges over whole lines would not end.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=added(*[AddedToken(byte, normalized=False) for byte in BYTES]),
                                  show_progress=False, limit_alphabet=600)

    def finish(tokenizer):
        tokenizer.pre_tokenizer = pre_tokenizer
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
        template(tokenizer, "<s> $A")
    return tokenizer, trainer, finish


def llama2():
    return fallback_bpe(normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]))


def mistral():
    return fallback_bpe(None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False))


def gemma():
    tokenizer, trainer, finish = fallback_bpe(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"))

    def finish_all(tokenizer):
        finish(tokenizer)
        tokenizer.add_tokens([AddedToken("▁▁", normalized=False), AddedToken("▁▁▁▁", normalized=False), AddedToken("\n\n", normalized=False)])
    return tokenizer, trainer, finish_all


def subword_bpe():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.NFKD(), normalizers.StripAccents()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=added(), show_progress=False, limit_alphabet=500,
                                          continuing_subword_prefix="##")


def of_common_characters(lines):
    """Lines without characters that are rare: the unigram trainer makes each a token, however few tokens there may be."""
    count = Counter(character for line in lines for character in unicodedata.normalize("NFKC", line))
    common = {character for character, _ in count.most_common(VOCABULARY // 3)}
    return [line for line in lines if common.issuperset(unicodedata.normalize("NFKC", line))]


def unigram(normalizer, pre_tokenizer, byte_fallback=False):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.UnigramTrainer(vocab_size=VOCABULARY, special_tokens=added(), unk_token="<unk>", show_progress=False)

    def finish(tokenizer):
        if byte_fallback:
            state = json.loads(tokenizer.to_str())
            vocab = state["model"]["vocab"]
            vocab += [[byte, min(score for _, score in vocab) - 1] for byte in BYTES]
            state["model"]["byte_fallback"] = True
            tokenizer = Tokenizer.from_str(json.dumps(state))
        template(tokenizer, "$A </s>")
        tokenizer.decoder = decoders.Metaspace()
        return tokenizer
    return tokenizer, trainer, finish


def unigram_nmt():
    steps = [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    return unigram(normalizers.Sequence(steps), pre_tokenizers.Metaspace())


def unigram_precompiled():
    steps = [normalizers.Precompiled(charsmap_of_sentencepiece()), normalizers.Strip(left=False), normalizers.Replace(Regex(" {2,}"), "▁")]
    return unigram(normalizers.Sequence(steps), pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]))


def unigram_bytes():
    return unigram(normalizers.NFC(), pre_tokenizers.Metaspace(prepend_scheme="first"), byte_fallback=True)


def bert(lowercase):
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=added(), show_progress=False, limit_alphabet=1000)

    def finish(tokenizer):
        tokenizer.post_processor = processors.BertProcessing(("</s>", tokenizer.token_to_id("</s>")), ("<s>", tokenizer.token_to_id("<s>")))
        tokenizer.decoder = decoders.WordPiece()
    return tokenizer, trainer, finish


def bert_uncased():
    return bert(True)


def bert_cased():
    return bert(False)


def word_level():
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(True)])
    return tokenizer, trainers.WordLevelTrainer(vocab_size=VOCABULARY, special_tokens=added(), show_progress=False)


TOKENIZERS = [gpt2, llama3, qwen2, cl100k, o200k, deepseek3, falcon, roberta, clip, llama2, mistral, gemma, subword_bpe, unigram_nmt,
              unigram_precompiled, unigram_bytes, bert_uncased, bert_cased, word_level]

# --- SentencePiece ------------------------------------------------------------------------------------------------

SENTENCEPIECE = {
    "spm_bpe_nmt_nfkc": dict(model_type="bpe", normalization_rule_name="nmt_nfkc", byte_fallback=True),
    "spm_bpe_identity": dict(model_type="bpe", normalization_rule_name="identity", byte_fallback=True, remove_extra_whitespaces=False),
    "spm_bpe_user": dict(model_type="bpe", normalization_rule_name="nfkc_cf", user_defined_symbols=["<tool>", "▁▁", "Pierre", "\t"],
                         byte_fallback=False),
    "spm_bpe_suffix": dict(model_type="bpe", normalization_rule_name="nfkc", treat_whitespace_as_suffix=True, byte_fallback=True),
    "spm_unigram_nmt_nfkc": dict(model_type="unigram", normalization_rule_name="nmt_nfkc"),
    "spm_unigram_identity": dict(model_type="unigram", normalization_rule_name="identity", byte_fallback=True,
                                 remove_extra_whitespaces=False, add_dummy_prefix=False),
    "spm_unigram_user": dict(model_type="unigram", normalization_rule_name="nmt_nfkc_cf", user_defined_symbols=["<tool>", "Pierre", "▁▁▁"],
                             byte_fallback=True, treat_whitespace_as_suffix=True),
}


def train_sentencepiece(folder, corpus, options):
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / "tokenizer"), vocab_size=VOCABULARY, hard_vocab_limit=False, num_threads=1,
        character_coverage=0.98, minloglevel=2, max_sentence_length=100000, **options)
    (folder / "tokenizer.vocab").unlink()
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


CHARSMAP = None


def charsmap_of_sentencepiece():
    """normalizer_spec (3) . precompiled_charsmap (2) of a model's protocol buffer."""
    def field(message, wanted):
        at = 0

        def varint():
            nonlocal at
            value = shift = 0
            while True:
                byte = message[at]
                at += 1
                value |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    return value
        while at < len(message):
            key = varint()
            if key & 7 == 2:
                size = varint()
                if key >> 3 == wanted:
                    return message[at:at + size]
                at += size
            elif key & 7 == 0:
                varint()
            else:
                at += 4 if key & 7 == 5 else 8
    return field(field(CHARSMAP.read_bytes(), 3), 2)


# --- Both sides ---------------------------------------------------------------------------------------------------

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


def run(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{program} {' '.join(map(str, arguments))}\nexit code {done.returncode}\n{done.stderr.decode(errors='replace')}")
    return done.stdout.decode()


def ids_of_ingot(program, folder, text_file, n_rows):
    write_tiny_checkpoint(folder, n_rows)
    model = folder / "model.gguf"
    run(program, "convert", folder, "-o", model, "-t", "f16", "--threads", 1)
    run(program, "verify", model, "--threads", 1)
    output = run(program, "tokenize", model, "--special", "--each", SEPARATOR, "-f", text_file)
    return [[int(id) for id in line.split()] for line in output.split("\n")[:-1]]


def ids_of_export(program, folder, lines):
    """By the library whose file the export has."""
    target = folder / "exported"
    run(program, "export", folder / "model.gguf", target, "--force")
    if (target / "tokenizer.json").exists():
        tokenizer = Tokenizer.from_file(str(target / "tokenizer.json"))
        return [encoding.ids for encoding in tokenizer.encode_batch(lines)]
    return sentencepiece.SentencePieceProcessor(model_file=str(target / "tokenizer.model")).encode(lines)


def compare(name, lines, expected, found, pieces):
    wrong = [i for i in range(len(lines)) if expected[i] != found[i]]
    print(f"{'ok     ' if not wrong else 'FAILED '} {name:30} {len(lines) - len(wrong):7} of {len(lines)} lines equal", flush=True)
    for i in wrong[:3]:
        first = next((k for k, (a, b) in enumerate(zip(expected[i], found[i])) if a != b), min(len(expected[i]), len(found[i])))
        print(f"        {lines[i][:200]!r}\n        expected {pieces(expected[i][first:first + 8])}\n        found    {pieces(found[i][first:first + 8])}")
    return not wrong


def make_hugging_face(make, folder, training):
    tokenizer, trainer, *finish = make()
    if isinstance(trainer, trainers.UnigramTrainer):
        training = of_common_characters(training)
    tokenizer.train_from_iterator(training, trainer)
    for step in finish:
        tokenizer = step(tokenizer) or tokenizer
    tokenizer.save(str(folder / "tokenizer.json"))
    # As any reader gets it: from the file.
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return tokenizer.get_vocab_size(), lambda lines: [encoding.ids for encoding in tokenizer.encode_batch(lines)], tokenizer.id_to_token


def make_sentencepiece(options, folder, corpus):
    processor = train_sentencepiece(folder, corpus, options)
    (folder / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": False, "add_eos_token": False}))
    return processor.vocab_size(), processor.encode, processor.id_to_piece


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ingot", default="build/ingot")
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--export-lines", type=int, default=5_000, help="lines for the exported tokenizer (default: 5000)")
    parser.add_argument("--training-lines", type=int, default=20_000)
    parser.add_argument("--prose", type=Path, help="lines of real text to mix in")
    parser.add_argument("--only", nargs="*", help="names of tokenizers")
    parser.add_argument("--keep", type=Path, help="folder for what is trained and converted")
    options = parser.parse_args()
    program = str(Path(options.ingot).resolve())

    prose = options.prose.read_text(encoding="utf-8").split("\n") if options.prose else []
    training_text = MixedText(1, prose)
    training = [training_text.line() for _ in range(options.training_lines)]
    text = MixedText(2, prose, SPECIALS + ["wordly", "<right>", "Pierre", "▁▁"])
    lines = [line for line in (text.line() for _ in range(options.lines)) if SEPARATOR not in f"\n{line}\n"]

    with tempfile.TemporaryDirectory() as temporary:
        work = options.keep or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        corpus = work / "corpus.txt"
        corpus.write_bytes("\n".join(" ".join(line.replace("\0", "").split("\n")) for line in training).encode())
        text_file = work / "lines.txt"
        text_file.write_bytes("".join(line + SEPARATOR for line in lines).encode())
        global CHARSMAP
        CHARSMAP = work / "charsmap" / "tokenizer.model"
        wanted = lambda name: not options.only or name in options.only
        if wanted("unigram_precompiled"):
            CHARSMAP.parent.mkdir(exist_ok=True)
            train_sentencepiece(CHARSMAP.parent, corpus, SENTENCEPIECE["spm_bpe_nmt_nfkc"])

        kinds = [(make.__name__, make_hugging_face, make, training) for make in TOKENIZERS]
        kinds += [(name, make_sentencepiece, each, corpus) for name, each in SENTENCEPIECE.items()]
        failed = 0
        for name, make, what, source in kinds:
            if not wanted(name):
                continue
            start = time.time()
            folder = work / name
            folder.mkdir(exist_ok=True)
            n_rows, encode, piece = make(what, folder, source)
            asked = lines
            if make is make_sentencepiece:  # control symbols in a text are text to the library itself
                asked = [line for line in lines if not any(special in line for special in ("<s>", "</s>", "<unk>"))]
                (folder / "lines.txt").write_bytes("".join(line + SEPARATOR for line in asked).encode())
            expected = encode(asked)
            found = ids_of_ingot(program, folder, folder / "lines.txt" if asked is not lines else text_file, n_rows)
            if len(found) != len(asked):
                sys.exit(f"{name}: {len(found)} lines came back of {len(asked)}")
            pieces = lambda ids: [piece(id) for id in ids]
            failed += not compare(name, asked, expected, found, pieces)
            first = asked[:options.export_lines]
            failed += not compare(f"{name}, exported", first, expected, ids_of_export(program, folder, first), pieces)
            if os.environ.get("VERBOSE"):
                print(f"        {time.time() - start:.0f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

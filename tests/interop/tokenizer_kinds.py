"""Every kind of tokenizer, trained on a given text: those of Hugging Face's `tokenizers` and of SentencePiece."""
import json
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

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
        # Bytes are tokens of the model. The trainer gives them ids only as added ones.
        state = json.loads(tokenizer.to_str())
        state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in BYTES]
        return Tokenizer.from_str(json.dumps(state))
    return tokenizer, trainer, finish


def llama2():
    return fallback_bpe(normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]))


def mistral():
    return fallback_bpe(None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False))


def gemma():
    tokenizer, trainer, finish = fallback_bpe(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"))

    def finish_all(tokenizer):
        tokenizer = finish(tokenizer)
        tokenizer.add_tokens([AddedToken("▁▁", normalized=False), AddedToken("▁▁▁▁", normalized=False), AddedToken("\n\n", normalized=False)])
        return tokenizer
    return tokenizer, trainer, finish_all


def subword_bpe():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.NFKD(), normalizers.StripAccents()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=added(), show_progress=False, limit_alphabet=500,
                                          continuing_subword_prefix="##")


def suffix_bpe():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder()
    return tokenizer, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=added(), show_progress=False, limit_alphabet=500,
                                          end_of_word_suffix="</w>")


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
        tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]) if byte_fallback else decoders.Metaspace()
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


TOKENIZERS = [gpt2, llama3, qwen2, cl100k, o200k, deepseek3, falcon, roberta, clip, llama2, mistral, gemma, subword_bpe, suffix_bpe,
              unigram_nmt, unigram_precompiled, unigram_bytes, bert_uncased, bert_cased, word_level]


def train_hugging_face(make, training):
    tokenizer, trainer, *finish = make()
    if isinstance(trainer, trainers.UnigramTrainer):
        training = of_common_characters(training)
    tokenizer.train_from_iterator(training, trainer)
    for step in finish:
        tokenizer = step(tokenizer) or tokenizer
    return tokenizer


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
    """Leaves tokenizer.model in the folder."""
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / "tokenizer"), vocab_size=VOCABULARY // 2, hard_vocab_limit=False, num_threads=1,
        character_coverage=0.98, minloglevel=2, max_sentence_length=100000, **options)
    (folder / "tokenizer.vocab").unlink()


def charsmap_of_sentencepiece():
    """The character map of its rule nmt_nfkc: normalizer_spec (3) . precompiled_charsmap (2) of a model's protocol buffer."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.txt"
        corpus.write_text("a few words\n" * 10)
        sentencepiece.SentencePieceTrainer.train(input=str(corpus), model_prefix=f"{folder}/m", vocab_size=20, hard_vocab_limit=False,
                                                 model_type="char", normalization_rule_name="nmt_nfkc", minloglevel=2)
        return field_of_message(field_of_message(Path(f"{folder}/m.model").read_bytes(), 3), 2)


def field_of_message(message, wanted):
    """The bytes of a protocol buffer's field."""
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

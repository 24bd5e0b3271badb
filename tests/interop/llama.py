"""llama.cpp through llama-cpp-python's low-level functions: what the scripts that compare with it share."""
import ctypes
import os
import re

import gguf
import llama_cpp
import numpy as np

from checks import FILE_TYPES


_log = []


@llama_cpp.llama_log_callback
def _keep_log(_level, text, _user_data):
    _log.append(text.decode(errors="replace"))


class Refusal(Exception):
    """llama.cpp does not take a file; its own words for it."""


def _why_not(otherwise):
    reasons = (re.search(r"error loading model[^:]*: (.*)", line) for line in reversed(_log))
    return next((reason.group(1).strip() for reason in reasons if reason), otherwise)


class Llama:
    """A file in llama.cpp: token ids, and logits of the last or of all positions. `exact` keeps keys and values in F32
    and computes attention in the plain way. Raises Refusal."""

    def __init__(self, path, context, threads=None, exact=False):
        _log.clear()
        parameters = llama_cpp.llama_model_default_params()
        parameters.n_gpu_layers = 0
        # The plain kernels: repacked weights, and those for AMX, round differently.
        parameters.use_extra_bufts = False
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.model:
            raise Refusal(_why_not(f"it does not load {path}"))
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = context
        parameters.n_threads = parameters.n_threads_batch = threads or len(os.sched_getaffinity(0))
        if exact:
            parameters.type_k = parameters.type_v = llama_cpp.GGML_TYPE_F32
            parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.context = llama_cpp.llama_init_from_model(self.model, parameters)
        if not self.context:
            llama_cpp.llama_model_free(self.model)
            raise Refusal(_why_not(f"it makes no context for {path}"))
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.n_vocabulary = llama_cpp.llama_vocab_n_tokens(self.vocabulary)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        llama_cpp.llama_free(self.context)
        llama_cpp.llama_model_free(self.model)

    def tokenize(self, text, special):
        raw = text.encode()
        tokens = (llama_cpp.llama_token * (len(raw) + 8))()
        n = llama_cpp.llama_tokenize(self.vocabulary, raw, len(raw), tokens, len(tokens), True, special)
        assert n >= 0
        return list(tokens[:n])

    def piece(self, token):
        """The bytes that generation prints for a token."""
        buffer = ctypes.create_string_buffer(256)
        n = llama_cpp.llama_token_to_piece(self.vocabulary, token, buffer, len(buffer), 0, False)
        return buffer.raw[:n]

    def ends(self, token):
        return llama_cpp.llama_vocab_is_eog(self.vocabulary, token)

    def logits(self, tokens, position=0, all_positions=False):
        """(n, n_vocabulary) of all positions, or (n_vocabulary,) of the last. Earlier positions stay cached."""
        if position == 0:
            llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, position + i, 1, 0
            batch.logits[i] = all_positions or i + 1 == len(tokens)
        status = llama_cpp.llama_decode(self.context, batch)
        llama_cpp.llama_batch_free(batch)
        if status != 0:
            raise Refusal(f"llama_decode returns {status}")
        n = len(tokens) if all_positions else 1
        raw = llama_cpp.llama_get_logits(self.context)
        values = np.ctypeslib.as_array(raw, shape=(n * self.n_vocabulary,)).reshape(n, -1).copy()
        return values if all_positions else values[0]

    def chunks(self, text, context):
        """llama-perplexity's convention: chunks of the context, BOS first in each, the second half scored. For each
        chunk the natural logarithms of all probabilities (n, n_vocabulary), and the tokens that came (n)."""
        tokens = self.tokenize(text, special=False)
        first = context // 2
        for start in range(0, len(tokens) - context + 1, context):
            chunk = tokens[start:start + context]
            chunk[0] = tokens[0]  # BOS
            logits = self.logits(chunk, all_positions=True)[first:context - 1].astype(np.float64)
            top = logits.max(axis=1, keepdims=True)
            logits -= top + np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
            yield logits, np.array(chunk[first + 1:])


def read_importance(path):
    """{tensor: mean squares of its columns} from an importance matrix in GGUF form."""
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    means = {}
    for name, sums in tensors.items():
        if name.endswith(".in_sum2"):
            name = name.removesuffix(".in_sum2")
            counts = np.maximum(tensors[name + ".counts"].reshape(-1, 1), 1)
            means[name] = np.ascontiguousarray(sums.reshape(len(counts), -1) / counts, dtype=np.float32).reshape(-1)
    return means


def quantize_with_llama(source, target, file_type, importance=None, pure=False):
    """`importance`: see read_importance(). `pure`: one type for all matrices."""
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.pure = pure
    if importance:  # entries, and one without a name behind them
        entries = (llama_cpp.llama_model_imatrix_data * (len(importance) + 1))()
        for entry, (name, values) in zip(entries, importance.items()):
            entry.name, entry.size = name.encode(), len(values)
            entry.data = values.ctypes.data_as(type(entry.data))
        parameters.imatrix = entries
    parameters.ftype = FILE_TYPES[file_type]
    parameters.nthread = len(os.sched_getaffinity(0))
    if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters)) != 0:
        raise RuntimeError(f"llama.cpp cannot quantize {source} to {file_type}")


def start():
    llama_cpp.llama_log_set(_keep_log, None)
    llama_cpp.llama_backend_init()

#!/usr/bin/env python3
"""llama.cpp's side of bench/cpu.py: speed of prompt and generation of one GGUF file, as one JSON object.

    llama_speed.py FILE --prompt 512 --generate 64 --threads 2 [--depth 0]

Uses the C interface of llama-cpp-python as llama-bench does: random tokens, an empty cache before each part,
no sampling in the timed loop. With --depth both parts are measured after so many tokens.
"""
import argparse
import ctypes
import json
import random
import time

import llama_cpp


def decode(context, tokens):
    array = (llama_cpp.llama_token * len(tokens))(*tokens)
    if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(array, len(tokens))) != 0:
        raise SystemExit("llama_decode failed")
    llama_cpp.llama_synchronize(context)


def timed(context, memory, steps, before=()):
    """Seconds of the steps, after the batches `before`, which are not timed."""
    llama_cpp.llama_memory_clear(memory, True)
    for tokens in before:
        decode(context, tokens)
    started = time.perf_counter()
    for tokens in steps:
        decode(context, tokens)
    return time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--depth", type=int, default=0)
    options = parser.parse_args()

    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    started = time.perf_counter()
    model = llama_cpp.llama_model_load_from_file(options.file.encode(), llama_cpp.llama_model_default_params())
    if not model:
        raise SystemExit(f"llama.cpp does not load {options.file}")
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = options.depth + max(options.prompt, options.generate, 64) + 8
    parameters.n_batch = parameters.n_ubatch = max(options.prompt, 512)
    parameters.n_threads = parameters.n_threads_batch = options.threads
    context = llama_cpp.llama_init_from_model(model, parameters)
    load_seconds = time.perf_counter() - started
    memory = llama_cpp.llama_get_memory(context)

    n_vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    random.seed(1)
    prompt = [random.randrange(n_vocabulary) for _ in range(options.prompt)]
    singles = [[random.randrange(n_vocabulary)] for _ in range(options.generate)]
    before = [[random.randrange(n_vocabulary) for _ in range(min(512, options.depth - first))]
              for first in range(0, options.depth, 512)]
    timed(context, memory, singles[:2])  # warm-up: pages, threads
    result = {"load_seconds": load_seconds}
    if prompt:
        timed(context, memory, [prompt[:64]])
        result["prompt_tokens_per_second"] = options.prompt / timed(context, memory, [prompt], before)
    if singles:
        result["generate_tokens_per_second"] = options.generate / timed(context, memory, singles, before)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

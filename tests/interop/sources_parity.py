"""Other sources than safetensors beside the programs that write them: PyTorch files, PEFT's adapters, llama2.c.

A tiny Llama of transformers is saved as safetensors; what `ingot convert -t F32` makes of that is the reference.
PyTorch files of every kind must give the same file, llama2.c's three versions the same tensors (int8: the values that
llama2.c itself computes). With --lora, the file is compared with that of PEFT's own merge_and_unload().

    sources_parity.py [--ingot build/ingot]
"""
import argparse
import json
import os
import shutil
import struct
import sys
import tempfile
from collections import OrderedDict
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gguf
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from checks import CHECKPOINT, Checks, Ingot

TOKENIZER = ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json")


def tiny_llama(tied=False, **more):
    torch.manual_seed(3)
    config = LlamaConfig(vocab_size=2048, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
                         rms_norm_eps=1e-5, tie_word_embeddings=tied, **more)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) / 8)
    return model


def add_tokenizer(folder):
    for name in TOKENIZER:
        shutil.copy(CHECKPOINT / name, folder / name)


def tensors_of(file):
    return {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(file).tensors}


def differences(ours, theirs, tolerance=0.0):
    wrong = [f"{name} is missing" for name in theirs.keys() ^ ours.keys()]
    for name in theirs.keys() & ours.keys():
        distance = np.abs(ours[name] - theirs[name]).max() if ours[name].shape == theirs[name].shape else np.inf
        if not distance <= tolerance:
            wrong.append(f"{name} differs by up to {distance}")
    return wrong


def pytorch_files(state):
    """label → {file: what torch.save gets, and how}"""
    double = OrderedDict((name, tensor.clone()) for name, tensor in state.items())
    transposed = {name: tensor.t().contiguous().t() if tensor.dim() == 2 else tensor for name, tensor in state.items()}
    flat = torch.cat([tensor.reshape(-1) for tensor in state.values()])  # one storage for all
    views, at = {}, 0
    for name, tensor in state.items():
        views[name] = flat[at:at + tensor.numel()].view(tensor.shape)
        at += tensor.numel()
    parameters = {name: torch.nn.Parameter(tensor) for name, tensor in state.items()}
    single = "pytorch_model.bin"
    rows = {
        "state dict": {single: (double, {})},
        "half the tensors as float16": {single: ({n: t.half().float().half() if i % 2 else t.half().float()
                                                  for i, (n, t) in enumerate(state.items())}, {})},
        "transposed strides": {single: (transposed, {})},
        "one storage, many offsets": {single: (views, {})},
        "parameters": {single: (parameters, {})},
        "under state_dict, with other values": {single: ({"epoch": 3, "lr": 0.1, "state_dict": double}, {})},
        "under model": {single: ({"model": dict(double)}, {})},
    }
    for protocol in (2, 3, 4, 5):
        rows[f"protocol {protocol}"] = {single: (double, {"pickle_protocol": protocol})}
    names = list(state)
    shards = [f"pytorch_model-{i + 1:05}-of-00002.bin" for i in range(2)]
    rows["two shards"] = {shard: ({name: state[name] for name in names[i::2]}, {}) for i, shard in enumerate(shards)}
    index = {name: shards[i % 2] for i, name in enumerate(names)}
    return rows, index


def check_pytorch(ingot, folder, check):
    model = tiny_llama()
    reference = folder / "safetensors"
    model.save_pretrained(reference)
    add_tokenizer(reference)
    ingot.run("convert", reference, "-t", "F32", "-o", folder / "reference.gguf")
    expected = tensors_of(folder / "reference.gguf")
    rows, index = pytorch_files(model.state_dict())
    for label, files in rows.items():
        source = folder / "pytorch"
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir()
        shutil.copy(reference / "config.json", source)
        add_tokenizer(source)
        for name, (value, options) in files.items():
            torch.save(value, source / name, **options)
        if len(files) > 1:
            (source / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
        ingot.run("convert", source, "-t", "F32", "-o", folder / "out.gguf", "--force")
        tolerance = 1e-3 if "float16" in label else 0.0
        wrong = differences(tensors_of(folder / "out.gguf"), expected, tolerance)
        check(f"PyTorch, {label}", not wrong, *wrong)
    legacy = folder / "pytorch" / "pytorch_model.bin"
    torch.save(model.state_dict(), legacy, _use_new_zipfile_serialization=False)
    (folder / "pytorch" / "pytorch_model.bin.index.json").unlink(missing_ok=True)
    for shard in (folder / "pytorch").glob("*-of-*"):
        shard.unlink()
    refused = refusal(ingot, "convert", folder / "pytorch", "-t", "F32", "-o", folder / "no.gguf")
    check("PyTorch before 1.6 is refused with a word", "before version 1.6" in refused, refused)


def refusal(ingot, *arguments):
    import subprocess
    done = subprocess.run([ingot.program, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True)
    return "accepted" if done.returncode == 0 else done.stderr.decode()


ADAPTERS = {
    "all linear layers": {"target_modules": "all-linear", "r": 8, "lora_alpha": 12},
    "rank-stabilized": {"target_modules": ["q_proj", "v_proj"], "r": 4, "lora_alpha": 6, "use_rslora": True},
    "ranks and alphas by pattern": {"target_modules": ["q_proj", "o_proj", "down_proj"], "r": 4, "lora_alpha": 8,
                                    "rank_pattern": {"down_proj": 16, "layers.1.self_attn.q_proj": 2},
                                    "alpha_pattern": {"down_proj": 3, "layers.1.self_attn.q_proj": 5}},
    "an embedding, and a head that is saved whole": {"target_modules": ["q_proj", "embed_tokens"], "r": 4,
                                                     "lora_alpha": 8, "modules_to_save": ["lm_head"]},
    "biases": {"target_modules": ["q_proj", "k_proj"], "r": 4, "lora_alpha": 8, "bias": "all"},
    "DoRA": {"target_modules": ["q_proj", "up_proj"], "r": 4, "lora_alpha": 8, "use_dora": True},
}


def check_adapters(ingot, folder, check):
    for label, settings in ADAPTERS.items():
        for safetensors in (True, False):
            base, adapter, merged = (folder / f"{label}-{part}-{safetensors}" for part in ("base", "adapter", "merged"))
            model = tiny_llama(attention_bias="bias" in settings)
            model.save_pretrained(base)
            add_tokenizer(base)
            torch.manual_seed(5)
            adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **settings))
            with torch.no_grad():
                for name, parameter in adapted.named_parameters():
                    if parameter.requires_grad and ("modules_to_save" in name or name.endswith(".bias")):
                        parameter.add_(torch.randn_like(parameter))
            adapted.save_pretrained(adapter, safe_serialization=safetensors)
            adapted.merge_and_unload().save_pretrained(merged)
            add_tokenizer(merged)
            ingot.run("convert", merged, "-t", "F32", "-o", merged / "out.gguf")
            ingot.run("convert", base, "-t", "F32", "-o", base / "out.gguf", "--lora", adapter)
            ours, theirs = tensors_of(base / "out.gguf"), tensors_of(merged / "out.gguf")
            plain = refusal(ingot, "convert", base, "-t", "F32", "-o", base / "plain.gguf")
            changed = differences(tensors_of(base / "plain.gguf"), theirs, 1e-2) if plain == "accepted" else [plain]
            wrong = differences(ours, theirs, 1e-5)
            check(f"LoRA, {label}, {'safetensors' if safetensors else '.bin'}: {len(changed)} tensors adapted",
                  not wrong and changed, *wrong)


def to_llama2c(rows, n_heads):
    """Hugging Face rotates (i, i + half) of a head, llama2.c neighbours."""
    return rows.reshape(n_heads, 2, rows.shape[0] // n_heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def write_llama2c(file, model, version, group=32):
    """By the description of the format in llama2.c's export: returns what int8 stands for."""
    config, state = model.config, {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    shared = config.tie_word_embeddings
    decoded = {}

    def layers(name, heads=None):
        result = []
        for layer in range(config.num_hidden_layers):
            rows = state[f"model.layers.{layer}.{name}.weight"]
            result.append((f"model.layers.{layer}.{name}.weight", to_llama2c(rows, heads) if heads else rows, heads))
        return result

    numbers = [config.hidden_size, config.intermediate_size, config.num_hidden_layers, config.num_attention_heads,
               config.num_key_value_heads, config.vocab_size, config.max_position_embeddings]
    norms = [layers("input_layernorm"), layers("post_attention_layernorm")]
    final = [("model.norm.weight", state["model.norm.weight"], None)]
    embedding = [("model.embed_tokens.weight", state["model.embed_tokens.weight"], None)]
    attention = (layers("self_attn.q_proj", config.num_attention_heads) +
                 layers("self_attn.k_proj", config.num_key_value_heads) + layers("self_attn.v_proj") +
                 layers("self_attn.o_proj"))
    feed_forward = layers("mlp.gate_proj") + layers("mlp.down_proj") + layers("mlp.up_proj")
    head = [] if shared else [("lm_head.weight", state["lm_head.weight"], None)]
    with open(file, "wb") as out:
        if version == 0:
            numbers[5] *= 1 if shared else -1
            out.write(struct.pack("<7i", *numbers))
            frequencies = np.zeros(config.max_position_embeddings * config.hidden_size // config.num_attention_heads)
            for part in (embedding + norms[0] + attention + norms[1] + feed_forward + final +
                         [("", frequencies, None)] + head):
                out.write(part[1].astype("<f4").tobytes())
            return decoded
        out.write(struct.pack("<Ii7iB", 0x616b3432, version, *numbers, shared))
        if version == 2:
            out.write(struct.pack("<i", group))
        out.write(bytes(256 - out.tell()))
        for part in norms[0] + norms[1] + final:
            out.write(part[1].astype("<f4").tobytes())
        for name, rows, heads in embedding + attention + feed_forward + head:
            if version == 1:
                out.write(rows.astype("<f4").tobytes())
                continue
            groups = rows.reshape(-1, group).astype(np.float32)
            scales = np.abs(groups).max(axis=1, keepdims=True) / np.float32(127)
            codes = np.round(groups / scales).astype(np.int8)
            out.write(codes.tobytes() + scales.astype("<f4").tobytes())
            values = (codes.astype(np.float32) * scales).reshape(rows.shape)
            decoded[name] = (values, heads)
        return decoded


def check_llama2c(ingot, folder, check):
    for tied in (True, False):
        model = tiny_llama(tied)
        reference = folder / f"hf-{tied}"
        model.save_pretrained(reference)
        add_tokenizer(reference)
        ingot.run("convert", reference, "-t", "F32", "-o", reference / "out.gguf")
        expected = tensors_of(reference / "out.gguf")
        for version in (0, 1, 2):
            place = folder / f"llama2c-{tied}-{version}"
            place.mkdir()
            decoded = write_llama2c(place / "model.bin", model, version)
            refused = refusal(ingot, "convert", place / "model.bin", "-t", "F32", "-o", place / "out.gguf")
            check("llama2.c without a tokenizer says so", "--tokenizer" in refused, refused)
            ingot.run("convert", place / "model.bin", "-t", "F32", "-o", place / "out.gguf", "--tokenizer",
                      CHECKPOINT / "tokenizer.model")
            theirs = dict(expected)
            for name, (values, _) in decoded.items():  # GGUF's llama has llama2.c's own order
                theirs[gguf_name(name)] = values
            wrong = differences(tensors_of(place / "out.gguf"), theirs)
            check(f"llama2.c, version {version}, {'shared' if tied else 'separate'} output", not wrong, *wrong)


def gguf_name(name):
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    return names.get_name(name, try_suffixes=(".weight",))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ingot", default="build/ingot", help="the program (default: build/ingot)")
    ingot = Ingot(parser.parse_args().ingot)
    check = Checks()
    with tempfile.TemporaryDirectory(prefix="ingot-interop-") as name:
        check_pytorch(ingot, Path(name), check)
        check_adapters(ingot, Path(name), check)
        check_llama2c(ingot, Path(name), check)
    check.finish()


if __name__ == "__main__":
    sys.exit(main())

"""Pre-quantized checkpoints beside the libraries that make them: the same floats, bit for bit.

For each form, the matrices of a tiny Llama are quantized by the form's own library (bitsandbytes, AutoGPTQ,
compressed-tensors, torch's 8-bit floats), or packed by a model of it written from its documentation (AWQ, GPTQ with
zero points that wrap, DeepSeek's FP8). `ingot convert -t F32` decodes the checkpoint; what the library itself
dequantizes is the reference. Every float is compared.

    prequantized_parity.py [--ingot build/ingot] [--only FORM …] [--keep DIR]
"""
import argparse
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import bitsandbytes as bnb
import gguf
import numpy as np
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Mxfp4Config
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

import llama
import tiny_models
from checks import CHECKPOINT, Checks, Ingot

HIDDEN, FEED_FORWARD, HEADS, KV_HEADS, VOCABULARY, LAYERS = 256, 384, 4, 2, 2048, 2
HEAD = HIDDEN // HEADS
LINEARS = {"self_attn.q_proj": ("attn_q", HIDDEN, HIDDEN), "self_attn.k_proj": ("attn_k", KV_HEADS * HEAD, HIDDEN),
           "self_attn.v_proj": ("attn_v", KV_HEADS * HEAD, HIDDEN), "self_attn.o_proj": ("attn_output", HIDDEN, HIDDEN),
           "mlp.gate_proj": ("ffn_gate", FEED_FORWARD, HIDDEN), "mlp.up_proj": ("ffn_up", FEED_FORWARD, HIDDEN),
           "mlp.down_proj": ("ffn_down", HIDDEN, FEED_FORWARD)}


def library_file(package, path):
    """A module of a package that cannot be imported whole where its extensions or dependencies are missing."""
    found = importlib.util.find_spec(package)
    if found is None:
        return None
    spec = importlib.util.spec_from_file_location(path.replace("/", "_"), Path(found.origin).parent / (path + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- one function for each form: a weight (out, in) → the tensors that stand for it, and its values

def bitsandbytes_4bit(kind, dtype, block, nested):
    def quantize(weight, name):
        codes, state = bnb.functional.quantize_4bit(weight.to(dtype), blocksize=block, quant_type=kind,
                                                    compress_statistics=nested)
        tensors = {f"{name}.weight": codes}
        tensors |= {f"{name}.weight.{key}": value for key, value in state.as_dict(packed=True).items()}
        return tensors, bnb.functional.dequantize_4bit(codes, state)
    return quantize


def bitsandbytes_int8(weight, name):
    codes, scales, _ = bnb.functional.int8_vectorwise_quant(weight.to(torch.float16))
    tensors = {f"{name}.weight": codes, f"{name}.SCB": scales,
               f"{name}.weight_format": torch.tensor(0, dtype=torch.uint8)}
    return tensors, bnb.functional.int8_vectorwise_dequant(codes, scales)


def stream(values, bits):
    """Integers (n, …) → words (n · bits / 32, …): a dense stream along the first dimension, low bits first."""
    values = np.asarray(values, dtype=np.int64)
    single = (values[:, None] >> np.arange(bits).reshape(1, bits, *[1] * (values.ndim - 1))) & 1
    single = single.reshape(-1, 32, *values.shape[1:])
    words = (single << np.arange(32).reshape(1, 32, *[1] * (values.ndim - 1))).sum(axis=1)
    return torch.from_numpy(words.astype(np.uint32).view(np.int32).copy())


def groups_of(inputs, size, ordered, generator):
    groups = torch.arange(inputs) // size
    return groups[torch.randperm(inputs, generator=generator)] if ordered else groups


def gptq_model(bits, size, ordered, version, dtype):
    """By the documented formula: scale · (q - z), with z - 1 stored in the first format; z within 1 … 2^bits."""
    def quantize(weight, name):
        generator = torch.Generator().manual_seed(len(name))
        n_out, n_in = weight.shape
        n_groups = -(-n_in // size)
        groups = groups_of(n_in, size, ordered, generator)
        codes = torch.randint(0, 2**bits, (n_in, n_out), generator=generator)
        low = 1 if version == "gptq" else 0
        zeros = torch.randint(low, 2**bits, (n_groups, n_out), generator=generator)
        scales = (torch.rand((n_groups, n_out), generator=generator) / 50 + 1e-4).to(dtype)
        tensors = {f"{name}.qweight": stream(codes, bits), f"{name}.scales": scales,
                   f"{name}.qzeros": stream((zeros - low).T, bits).T.contiguous(), f"{name}.g_idx": groups.to(torch.int32)}
        return tensors, (scales[groups] * (codes - zeros[groups])).T
    return quantize


def gptq_library(bits, size, ordered):
    """AutoGPTQ packs, and multiplies the unit matrix: that is its dequantized weight."""
    library = library_file("auto_gptq", "nn_modules/qlinear/qlinear_cuda")

    def quantize(weight, name):
        generator = torch.Generator().manual_seed(len(name))
        n_out, n_in = weight.shape
        n_groups = n_in // size
        groups = groups_of(n_in, size, ordered, generator)
        layer = library.QuantLinear(bits, size, n_in, n_out, bias=False)
        linear = torch.nn.Linear(n_in, n_out, bias=False)
        linear.weight.data = weight.to(torch.float16)
        spread = weight.abs().max() * 2 / (2**bits - 1)
        scales = (torch.rand((n_out, n_groups), generator=generator) + 0.5) * spread
        zeros = torch.full((n_out, n_groups), float(2 ** (bits - 1))) + torch.randint(0, 2, (n_out, n_groups), generator=generator)
        layer.pack(linear, scales.to(torch.float16), zeros, groups.to(torch.int32))
        tensors = {f"{name}.{key}": getattr(layer, key).contiguous() for key in ("qweight", "qzeros", "scales", "g_idx")}
        return tensors, layer(torch.eye(n_in, dtype=torch.float16)).T
    return quantize


def awq_model(size):
    """AutoAWQ's gemm: eight outputs a word in the order 0 2 4 6 1 3 5 7, (q - z) · scale in float16."""
    order = [0, 2, 4, 6, 1, 3, 5, 7]

    def pack(values):  # (n, out) → (n, out / 8)
        words = torch.zeros(values.shape[0], values.shape[1] // 8, dtype=torch.int64)
        for place, output in enumerate(order):
            words |= values[:, output::8] << (4 * place)
        return torch.from_numpy(words.numpy().astype(np.uint32).view(np.int32).copy())

    def quantize(weight, name):
        generator = torch.Generator().manual_seed(len(name))
        n_out, n_in = weight.shape
        codes = torch.randint(0, 16, (n_in, n_out), generator=generator)
        zeros = torch.randint(0, 16, (n_in // size, n_out), generator=generator)
        scales = (torch.rand((n_in // size, n_out), generator=generator) / 50).to(torch.float16)
        tensors = {f"{name}.qweight": pack(codes), f"{name}.qzeros": pack(zeros), f"{name}.scales": scales}
        spread = [values.repeat_interleave(size, dim=0) for values in (zeros, scales)]
        return tensors, ((codes - spread[0]).to(torch.int8) * spread[1]).T
    return quantize


def float8(element, scales_of, suffix, dtype):
    """torch's own 8-bit floats, multiplied in float32 and rounded to the model's dtype."""
    def quantize(weight, name):
        scales, spread = scales_of(weight)
        codes = (weight / spread).to(element)
        tensors = {f"{name}.weight": codes, f"{name}.{suffix}": scales,
                   f"{name}.input_scale": torch.tensor(0.5)}
        return tensors, (codes.to(torch.float32) * spread).to(dtype)
    return quantize


def per_tensor(weight):
    scale = weight.abs().max() / 448
    return scale, scale.expand(weight.shape)


def per_row(weight):
    scales = weight.abs().amax(dim=1, keepdim=True) / 448
    return scales, scales.expand(weight.shape)


def per_block(weight, size=128):
    rows, columns = weight.shape
    blocks = weight.reshape(rows // size, size, columns // size, size)
    scales = blocks.abs().amax(dim=(1, 3)) / 448
    return scales, scales.repeat_interleave(size, 0).repeat_interleave(size, 1)


def compressed(form, dtype, **arguments):
    """compressed-tensors' own compressor, there and back."""
    args = QuantizationArgs(**arguments)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    library = BaseCompressor.get_value_from_registry(form)

    def quantize(weight, name):
        generator = torch.Generator().manual_seed(len(name))
        rows, columns = weight.shape
        shape = {"tensor": (1,), "channel": (rows, 1), "group": (rows, columns // (args.group_size or 1)),
                 "block": (-(-rows // 128), -(-columns // 128))}[str(arguments["strategy"])]
        largest = 448.0 if arguments["type"] == "float" else 2.0 ** (args.num_bits - 1)
        scales = (torch.rand(shape, generator=generator) + 0.5) * weight.abs().max() / largest
        if form == "mxfp4-pack-quantized":
            scales = 2.0 ** torch.floor(torch.log2(scales * 8))
        state = {"weight": weight.to(dtype), "weight_scale": scales.to(dtype)}
        if not args.symmetric:
            state["weight_zero_point"] = torch.randint(-3, 4, shape, generator=generator).to(torch.int8)
        packed = library.compress(state, scheme)
        values = library.decompress(packed, scheme)["weight"]
        return {f"{name}.{key}": value.contiguous() for key, value in packed.items()}, values
    return quantize


def compressed_config(form, **arguments):
    group = {"targets": ["Linear"], "weights": arguments, "input_activations": None, "output_activations": None}
    return {"quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": group}}


BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32
BNB = {"quant_method": "bitsandbytes", "load_in_4bit": True}
BLOCKS = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}
INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": True}
INT8 = {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}
FLOAT = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True}


def forms():
    """name → (quantization_config, function, the model's dtype)"""
    rows = {}
    for kind in ("nf4", "fp4"):
        for dtype in (BF16, F16, F32):
            for block, nested in ((64, True), (64, False), (128, True)):
                label = f"bitsandbytes {kind} {str(dtype)[6:]} {block}{' double' if nested else ''}"
                rows[label] = (BNB, bitsandbytes_4bit(kind, dtype, block, nested), dtype)
    rows["bitsandbytes int8"] = ({"quant_method": "bitsandbytes", "load_in_8bit": True}, bitsandbytes_int8, F16)
    for bits in (2, 3, 4, 8):
        for size, ordered in ((128, False), (64, True)):
            label = f"GPTQ {bits}-bit {size}{' act-order' if ordered else ''}"
            config = {"quant_method": "gptq", "bits": bits, "group_size": size, "desc_act": ordered}
            rows[f"{label}, AutoGPTQ"] = (config, gptq_library(bits, size, ordered), F16)
            rows[f"{label}, model"] = (config, gptq_model(bits, size, ordered, "gptq", F16), F16)
            rows[f"{label} v2, model"] = (config | {"checkpoint_format": "gptq_v2"},
                                          gptq_model(bits, size, ordered, "gptq_v2", BF16), BF16)
    for size in (32, 128):
        rows[f"AWQ gemm {size}"] = ({"quant_method": "awq", "version": "gemm", "bits": 4, "group_size": size},
                                    awq_model(size), F16)
    e4m3, e5m2 = torch.float8_e4m3fn, torch.float8_e5m2
    rows["FP8 E4M3 blocks, scale_inv"] = (BLOCKS, float8(e4m3, per_block, "weight_scale_inv", BF16), BF16)
    rows["FP8 E4M3 tensor"] = ({"quant_method": "fp8"}, float8(e4m3, per_tensor, "weight_scale", F16), F16)
    rows["FP8 E4M3 rows, fbgemm"] = ({"quant_method": "fbgemm_fp8"}, float8(e4m3, per_row, "weight_scale", BF16), BF16)
    rows["FP8 E5M2 tensor"] = ({"quant_method": "fp8"}, float8(e5m2, per_tensor, "weight_scale", F32), F32)
    for dtype in (BF16, F16, F32):
        kind = str(dtype)[6:]
        for label, form, arguments in (
                ("int4 groups", "pack-quantized", INT4),
                ("int4 groups, zeros", "pack-quantized", INT4 | {"symmetric": False}),
                ("int4 rows", "pack-quantized", INT4 | {"strategy": "channel", "group_size": None}),
                ("int8 packed", "pack-quantized", INT4 | {"num_bits": 8}),
                ("int3 packed", "pack-quantized", INT4 | {"num_bits": 3}),
                ("int8 rows", "int-quantized", INT8),
                ("int8 rows, zeros", "int-quantized", INT8 | {"symmetric": False}),
                ("FP8 tensor", "float-quantized", FLOAT | {"strategy": "tensor"}),
                ("FP8 rows", "float-quantized", FLOAT),
                ("FP8 blocks", "float-quantized", FLOAT | {"strategy": "block", "block_structure": [128, 128]}),
                ("MXFP4", "mxfp4-pack-quantized", INT4 | {"type": "float", "group_size": 32})):
            rows[f"compressed-tensors {label} {kind}"] = (compressed_config(form, **arguments),
                                                          compressed(form, dtype, **arguments), dtype)
    return rows


def write_checkpoint(folder, config, quantize, dtype):
    """A Llama whose linear layers are quantized. Returns the values that its library gives them."""
    generator = torch.Generator().manual_seed(1)
    tensors = {"model.embed_tokens.weight": torch.randn((VOCABULARY, HIDDEN), generator=generator),
               "model.norm.weight": torch.ones(HIDDEN)}
    values = {}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}{norm}.weight"] = torch.ones(HIDDEN)
        for linear, (target, n_out, n_in) in LINEARS.items():
            weight = torch.randn((n_out, n_in), generator=generator) / 16
            parts, decoded = quantize(weight, prefix + linear)
            tensors |= parts
            values[f"blk.{layer}.{target}.weight"] = decoded.to(F32).numpy()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "vocab_size": VOCABULARY, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": True, "torch_dtype": str(dtype)[6:],
        "quantization_config": config}))
    for name in ("tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(CHECKPOINT / name, folder / name)
    return values


def in_checkpoint_order(name, values):
    """Undoes the order of GGUF's llama, where elements that rotate together are neighbours."""
    if ".attn_q." not in name and ".attn_k." not in name:
        return values
    return values.reshape(-1, HEAD // 2, 2, values.shape[-1]).swapaxes(1, 2).reshape(values.shape)


def compare(file, expected):
    """Floats compared, and how many differ in any bit (zeros of either sign are the same)."""
    n, wrong, largest = 0, 0, 0.0
    for tensor in gguf.GGUFReader(file).tensors:
        if tensor.name not in expected:
            continue
        ours = in_checkpoint_order(tensor.name, tensor.data)
        theirs = expected[tensor.name]
        n += ours.size
        wrong += int((ours != theirs).sum())
        largest = max(largest, float(np.abs(ours - theirs).max()))
    return n, wrong, largest


def with_mxfp4_experts(source, folder):
    """GPT-OSS as it is published: experts' matrices as MXFP4, which transformers decodes. Returns a copy of the
    checkpoint with the decoded matrices."""
    generator = torch.Generator().manual_seed(7)
    packed, plain = {}, {}
    for name, tensor in load_file(source / "model.safetensors").items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            packed[name] = plain[name] = tensor
            continue
        experts, n_in, n_out = tensor.shape
        blocks = torch.randint(0, 256, (experts, n_out, n_in // 32, 16), generator=generator, dtype=torch.uint8)
        scales = torch.randint(118, 124, (experts, n_out, n_in // 32), generator=generator, dtype=torch.uint8)
        packed |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        plain[name] = convert_moe_packed_tensors(blocks, scales, dtype=BF16)
    for place, tensors in ((folder / "packed", packed), (folder / "plain", plain)):
        shutil.copytree(source, place)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, place / "model.safetensors")
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}
    (folder / "packed" / "config.json").write_text(json.dumps(config))


def check_gpt_oss(ingot, folder, check):
    tiny_models.make("gptoss-truncate", folder / "source")
    with_mxfp4_experts(folder / "source", folder)
    for place in ("packed", "plain"):
        ingot.run("convert", folder / place, "-t", "F32", "-o", folder / f"{place}.gguf")
    ours, theirs = ({tensor.name: tensor.data for tensor in gguf.GGUFReader(folder / f"{place}.gguf").tensors}
                    for place in ("packed", "plain"))
    wrong = [name for name in theirs if name not in ours or not np.array_equal(ours[name], theirs[name])]
    n = sum(tensor.size for name, tensor in theirs.items() if "_exps.weight" in name)
    check(f"GPT-OSS MXFP4: {n} floats of experts", n > 0 and not wrong, *wrong)
    # Kept as they are: gguf decodes the repacked blocks to the same floats.
    ingot.run("convert", folder / "packed", "-t", "MXFP4", "-o", folder / "kept.gguf")
    kept = [tensor for tensor in gguf.GGUFReader(folder / "kept.gguf").tensors
            if tensor.tensor_type == gguf.GGMLQuantizationType.MXFP4]
    wrong = [tensor.name for tensor in kept
             if not np.array_equal(gguf.quants.dequantize(tensor.data, tensor.tensor_type), theirs[tensor.name])]
    check(f"GPT-OSS kept as MXFP4: {len(kept)} tensors", len(kept) == 9 and not wrong, *wrong)
    check_gpt_oss_logits(ingot, folder, check)
    return n


# Of the logits, the root mean square difference from transformers' over their standard deviation. The model is as small as
# it is random: a token that goes to another expert shows. Wrong weights would be at 1.4.
LOGITS_WITHIN = {"F32": 1e-4, "MXFP4": 0.1, "Q8_0": 0.1, "Q4_K_M": 0.5}


def check_gpt_oss_logits(ingot, folder, check):
    """The published form from end to end: transformers reads the packed checkpoint and computes in float32; here it is
    converted to several types, MXFP4 as it stands among them, and run. In F32, and kept, llama.cpp runs it too."""
    tokens = tiny_models.token_ids()
    model = AutoModelForCausalLM.from_pretrained(folder / "packed", dtype=F32, attn_implementation="eager",
                                                 quantization_config=Mxfp4Config(dequantize=True)).eval()
    with torch.no_grad():
        reference = model(torch.tensor([tokens])).logits[0].numpy()
    ids, logits = folder / "ids.txt", folder / "logits.npy"
    ids.write_text(" ".join(map(str, tokens)))
    for kind, tolerance in LOGITS_WITHIN.items():
        file = folder / f"logits-{kind}.gguf"
        ingot.run("convert", folder / "packed", "-t", kind, "-o", file)
        ingot.run("perplexity", file, "--token-ids", ids, "--context", len(tokens), "--logits", logits)
        found = {"here": np.load(logits).reshape(reference.shape)}
        if kind in ("F32", "MXFP4"):
            with llama.Llama(file, 64, exact=True) as there:
                found["in llama.cpp"] = there.logits(tokens, all_positions=True)
        for place, values in found.items():
            far = float(np.sqrt(np.square(values - reference).mean()) / reference.std())
            check(f"GPT-OSS from MXFP4 as {kind}, {place}: logits differ by {far:.1e}, at most {tolerance:.0e}", far <= tolerance)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ingot", default="build/ingot", help="the program (default: build/ingot)")
    parser.add_argument("--only", nargs="+", default=[""], help="forms whose name contains one of these")
    parser.add_argument("--keep", help="folder for the checkpoints, kept")
    arguments = parser.parse_args()
    ingot = Ingot(arguments.ingot)
    llama.start()
    check = Checks()
    total = 0
    with tempfile.TemporaryDirectory(prefix="ingot-interop-") as temporary:
        for name, (config, quantize, dtype) in forms().items():
            if not any(word in name for word in arguments.only):
                continue
            folder = Path(arguments.keep or temporary) / name.replace(" ", "-").replace(",", "")
            folder.mkdir(parents=True)
            expected = write_checkpoint(folder, config, quantize, dtype)
            ingot.run("convert", folder, "-t", "F32", "-o", folder / "out.gguf")
            n, wrong, largest = compare(folder / "out.gguf", expected)
            total += n
            check(f"{name}: {n} floats", n > 0 and wrong == 0, f"{wrong} differ, by up to {largest}")
            if not arguments.keep:
                shutil.rmtree(folder)
        if any(word in "GPT-OSS MXFP4" for word in arguments.only):
            total += check_gpt_oss(ingot, Path(temporary), check)
    print(f"{total} floats compared")
    check.finish()


if __name__ == "__main__":
    sys.exit(main())

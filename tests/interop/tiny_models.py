"""Tiny models of every family, saved as transformers saves them, with every special feature switched on.

    tiny_models.py FAMILY|all OUTDIR        OUTDIR/FAMILY gets config.json, model.safetensors, tokenizer.json …

The weights are random (a fixed seed per family) but not the initial ones: matrices keep activations near 1, biases are
not zero, norms not one, so that a tensor in the wrong place or a missing feature shows in the logits. Sliding windows
are shorter than the 48 tokens of the parity test; heads are grouped; vocabularies are larger than the tokenizer.
"""
import argparse
import os
import sys
import zlib
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText  # noqa: E402
from transformers.utils import logging  # noqa: E402

logging.disable_progress_bar()

TOKENIZER_SIZE = 500  # tokens
VOCABULARY = 512      # rows of the embedding; those beyond the tokenizer are padding
N_TOKENS = 48         # of the parity test
WINDOW = 16           # tokens of a sliding window

TEXT = """A model file holds numbers and names. The numbers are the weights that a machine found while it read; the
names say which is which. Whoever carries such a file from one program into another must keep both, and the order of
the rows, and the shape of every head, and the words of the vocabulary, or the model will speak nonsense without ever
saying that something is wrong. Ten thousand rows of 4,096 numbers in 16 bits are 80 megabytes; forty layers of seven
such matrices are more than twenty gigabytes. def rows(shape): return shape[1] if len(shape) > 1 else 1. Let x = 3.14;
print(f"{x:.2f}") # comments, too. The weather was cold, the roads were long, and nobody knew what the next token
would be until it was there. It's not that we couldn't; they'd rather we didn't. 2024-01-15 12:30:45 [info] loading."""


def tokenizer(size=TOKENIZER_SIZE):
    """A byte-level BPE over TEXT. Ids 0, 1 and 2 are padding, the beginning and the end of a text; llama.cpp looks for
    the other two in models that are called Phi-3."""
    result = Tokenizer(models.BPE())
    result.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    result.decoder = decoders.ByteLevel()
    result.train_from_iterator([TEXT], trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<pad>", "<s>", "</s>", "<unk>", "<|endoftext|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return result


def rope(kind="default", theta=10000.0, **values):
    return {"rope_type": kind, "rope_theta": theta, **values}


# What most families share, under the names that most of them use.
BASE = {"vocab_size": VOCABULARY, "hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False, "dtype": "float32"}
IDS = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "dtype": "float32"}
PIXTRAL = {"model_type": "pixtral", "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1,
           "num_attention_heads": 2, "image_size": 32, "patch_size": 16}
ALTERNATING = ["sliding_attention", "full_attention"] * 2
DELTA = ["linear_attention", "full_attention"] * 2

GEMMA2 = BASE | {"head_dim": 48, "num_hidden_layers": 4, "sliding_window": WINDOW, "attn_logit_softcapping": 5.0,
                 "final_logit_softcapping": 3.0, "tie_word_embeddings": True}
GEMMA3 = BASE | {"head_dim": 48, "num_hidden_layers": 6, "sliding_window": WINDOW, "sliding_window_pattern": 6,
                 "tie_word_embeddings": True, "rope_parameters": {"full_attention": rope("linear", 1e6, factor=8.0),
                                                                  "sliding_attention": rope()}}
UNGROUPED = {key: value for key, value in BASE.items() if key != "num_key_value_heads"}
FALCON = {key: value for key, value in UNGROUPED.items() if key != "intermediate_size"}
GPT_OSS = BASE | {"intermediate_size": 96, "head_dim": 32, "num_local_experts": 4, "num_experts_per_tok": 2,
                  "sliding_window": WINDOW}
LLAMA4 = BASE | {"num_hidden_layers": 4, "head_dim": 32, "intermediate_size": 96, "intermediate_size_mlp": 192,
                 "num_local_experts": 4, "num_experts_per_tok": 1, "interleave_moe_layer_step": 2}

# family: (model_type of transformers, what its config gets beyond or instead of BASE)
LLAMA_ROPE = {"llama": rope(), "llama-linear": rope("linear", factor=4.0),
              "llama-dynamic": rope("dynamic", factor=2.0),
              "llama-yarn": rope("yarn", factor=4.0, original_max_position_embeddings=32),
              "llama3": rope("llama3", 500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                             original_max_position_embeddings=32)}
FAMILIES = {name: ("llama", BASE | {"rope_parameters": parameters}) for name, parameters in LLAMA_ROPE.items()}
FAMILIES |= {
    "llama-tied-bias": ("llama", BASE | {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True,
                                         "head_dim": 48}),
    "mistral": ("mistral", BASE | {"sliding_window": None, "head_dim": 48}),
    "mistral-window": ("mistral", BASE | {"sliding_window": WINDOW}),
    "qwen2": ("qwen2", BASE | {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", BASE | {"head_dim": 64}),
    "gemma": ("gemma", BASE | {"head_dim": 48, "tie_word_embeddings": True}),
    "gemma2": ("gemma2", GEMMA2 | {"query_pre_attn_scalar": 48}),
    "gemma2-scale": ("gemma2", GEMMA2 | {"query_pre_attn_scalar": 32}),
    "gemma3": ("gemma3_text", GEMMA3 | {"query_pre_attn_scalar": 48}),
    "gemma3-scale": ("gemma3_text", GEMMA3 | {"query_pre_attn_scalar": 32}),
    "phi3": ("phi3", BASE),
    "phi3-window": ("phi3", BASE | {"sliding_window": WINDOW}),
    "phi3-long": ("phi3", BASE | {"original_max_position_embeddings": 32, "rope_parameters": rope(
        "longrope", short_factor=[1.0 + 0.05 * i for i in range(16)],
        long_factor=[1.0 + 0.5 * i for i in range(16)], original_max_position_embeddings=32)}),
    "phi3-short": ("phi3", BASE | {"max_position_embeddings": 1024, "original_max_position_embeddings": 256,
                                   "rope_parameters": rope(
        "longrope", short_factor=[1.0 + 0.05 * i for i in range(12)],
        long_factor=[1.0 + 0.5 * i for i in range(12)], original_max_position_embeddings=256,
        partial_rotary_factor=0.75)}),
    "gpt2": ("gpt2", IDS | {"n_embd": 128, "n_layer": 3, "n_head": 4, "n_positions": 128}),
    "mixtral": ("mixtral", BASE | {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None}),
    "qwen2moe": ("qwen2_moe", BASE | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 96,
                                      "shared_expert_intermediate_size": 160}),
    "qwen3moe": ("qwen3_moe", BASE | {"head_dim": 64, "num_experts": 4, "num_experts_per_tok": 2,
                                      "moe_intermediate_size": 96, "norm_topk_prob": True}),
    "gptneox": ("gpt_neox", UNGROUPED | {"use_parallel_residual": True,
                                         "rope_parameters": rope(partial_rotary_factor=0.25)}),
    "gptneox-sequential": ("gpt_neox", UNGROUPED | {"use_parallel_residual": False, "tie_word_embeddings": True,
                                                    "rope_parameters": rope(partial_rotary_factor=0.5)}),
    "phi2": ("phi", BASE | {"num_key_value_heads": 4, "rope_parameters": rope(partial_rotary_factor=0.5)}),
    "stablelm": ("stablelm", BASE | {"use_qkv_bias": True, "rope_parameters": rope(partial_rotary_factor=0.25)}),
    "stablelm-12b": ("stablelm", BASE | {"qk_layernorm": True, "use_parallel_residual": True,
                                         "rope_parameters": rope(partial_rotary_factor=0.25)}),
    "starcoder2": ("starcoder2", BASE | {"sliding_window": None, "use_bias": True, "tie_word_embeddings": True}),
    "starcoder2-window": ("starcoder2", BASE | {"sliding_window": WINDOW, "use_bias": True}),
    "olmo2": ("olmo2", BASE),
    "granite": ("granite", BASE | {"embedding_multiplier": 2.0, "attention_multiplier": 0.25,
                                   "residual_multiplier": 0.7, "logits_scaling": 1.5, "tie_word_embeddings": True}),
    "smollm3": ("smollm3", BASE | {"num_hidden_layers": 4, "no_rope_layer_interval": 4,
                                   "tie_word_embeddings": True}),
    "cohere": ("cohere", BASE | {"logit_scale": 0.25, "tie_word_embeddings": True}),
    # llama.cpp expects these norms in models of 64 layers or more.
    "cohere-plus": ("cohere", BASE | {"use_qk_norm": True, "hidden_size": 64, "intermediate_size": 64,
                                      "num_hidden_layers": 64, "logit_scale": 0.25, "tie_word_embeddings": True}),
    "cohere2": ("cohere2", BASE | {"logit_scale": 0.25, "num_hidden_layers": 4, "sliding_window": WINDOW,
                                   "tie_word_embeddings": True}),
    "gptj": ("gptj", IDS | {"n_embd": 128, "n_layer": 3, "n_head": 4, "n_positions": 128, "rotary_dim": 16,
                            "tie_word_embeddings": False}),
    "falcon": ("falcon", FALCON | {"new_decoder_architecture": False, "multi_query": True, "parallel_attn": True,
                                 "tie_word_embeddings": True}),
    "falcon-40b": ("falcon", FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2,
                                     "tie_word_embeddings": True}),
    "mpt": ("mpt", IDS | {"d_model": 128, "n_layers": 3, "n_heads": 4, "max_seq_len": 128,
                          "attn_config": {"alibi": True, "clip_qkv": 1.0, "alibi_bias_max": 8}}),
    "bloom": ("bloom", IDS | {"hidden_size": 128, "n_layer": 3, "n_head": 4}),
    "gptoss": ("gpt_oss", GPT_OSS | {"rope_parameters": rope(
        "yarn", 150000.0, factor=4.0, beta_fast=32.0, beta_slow=1.0, truncate=False,
        original_max_position_embeddings=32)}),
    "gptoss-truncate": ("gpt_oss", GPT_OSS | {"rope_parameters": rope(
        "yarn", 150000.0, factor=4.0, beta_fast=32.0, beta_slow=1.0, original_max_position_embeddings=32)}),
    "deepseek2": ("deepseek_v2", BASE | {"num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": None,
                                         "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16,
                                         "v_head_dim": 32, "n_routed_experts": 4, "num_experts_per_tok": 2,
                                         "n_shared_experts": 2, "moe_intermediate_size": 64,
                                         "first_k_dense_replace": 1, "routed_scaling_factor": 1.5}),
    "deepseek2-q-lora": ("deepseek_v2", BASE | {
        "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 48, "kv_lora_rank": 64,
        "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32, "n_routed_experts": 4,
        "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 64, "first_k_dense_replace": 1,
        "routed_scaling_factor": 1.0,
        "rope_parameters": rope("yarn", factor=4.0, mscale=0.707, mscale_all_dim=0.707,
                                original_max_position_embeddings=32)}),
    "deepseek2-groups": ("deepseek_v2", BASE | {
        "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 48, "kv_lora_rank": 64,
        "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32, "n_routed_experts": 16,
        "num_experts_per_tok": 3, "n_shared_experts": 1, "moe_intermediate_size": 64, "first_k_dense_replace": 1,
        "routed_scaling_factor": 4.0, "topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2}),
    "deepseek3": ("deepseek_v3", BASE | {
        "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 48, "kv_lora_rank": 64,
        "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32, "n_routed_experts": 8,
        "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 64, "first_k_dense_replace": 1,
        "routed_scaling_factor": 1.5, "n_group": 2, "topk_group": 1, "norm_topk_prob": True}),
    "llama4": ("llama4_text", LLAMA4),
    "llama4-chunks": ("llama4_text", LLAMA4 | {"attention_chunk_size": WINDOW, "floor_scale": 16, "attn_scale": 0.1}),
    "glm4": ("glm4", BASE | {"head_dim": 32, "attention_bias": True,
                             "rope_parameters": rope(partial_rotary_factor=0.5)}),
    "ministral3": ("ministral3", BASE | {"head_dim": 48, "rope_parameters": rope(
        "yarn", 1e6, factor=4.0, original_max_position_embeddings=32, max_position_embeddings=128, beta_fast=32.0,
        beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.1)}),
    "mistral4": ("mistral3", IDS | {"tie_word_embeddings": False, "vision_config": PIXTRAL, "text_config": BASE | {
        "model_type": "mistral4", "num_key_value_heads": 4, "q_lora_rank": 48, "kv_lora_rank": 64,
        "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32, "head_dim": 48, "n_routed_experts": 4,
        "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 64,
        "rope_parameters": rope("yarn", factor=4.0, original_max_position_embeddings=32, max_position_embeddings=128,
                                beta_fast=32.0, beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0,
                                llama_4_scaling_beta=0.1)}}),
    "gemma4": ("gemma4_text", BASE | {
        "num_hidden_layers": 6, "head_dim": 32, "global_head_dim": 64, "sliding_window": WINDOW,
        "hidden_size_per_layer_input": 32, "vocab_size_per_layer_input": VOCABULARY, "num_kv_shared_layers": 3,
        "final_logit_softcapping": 3.0, "tie_word_embeddings": True,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2}),
    "gemma4-moe": ("gemma4_text", BASE | {
        "num_hidden_layers": 4, "head_dim": 32, "global_head_dim": 64, "num_global_key_value_heads": 1,
        "sliding_window": WINDOW, "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0,
        "attention_k_eq_v": True, "enable_moe_block": True, "num_experts": 4, "top_k_experts": 2,
        "moe_intermediate_size": 96, "final_logit_softcapping": 3.0, "tie_word_embeddings": True,
        "layer_types": ALTERNATING}),
    "qwen3next": ("qwen3_next", BASE | {
        "num_hidden_layers": 4, "head_dim": 64, "full_attention_interval": 2, "layer_types": DELTA,
        "linear_key_head_dim": 32, "linear_value_head_dim": 32, "linear_num_key_heads": 2,
        "linear_num_value_heads": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 96,
        "shared_expert_intermediate_size": 64, "rope_parameters": rope(partial_rotary_factor=0.25)}),
    "qwen35": ("qwen3_5_text", BASE | {
        "num_hidden_layers": 4, "head_dim": 64, "full_attention_interval": 2, "layer_types": DELTA,
        "linear_key_head_dim": 32, "linear_value_head_dim": 32, "linear_num_key_heads": 2,
        "linear_num_value_heads": 4, "rope_parameters": rope(
            partial_rotary_factor=0.25, mrope_section=[3, 3, 2], mrope_interleaved=True)}),
    "qwen35moe": ("qwen3_5_moe_text", BASE | {
        "num_hidden_layers": 4, "head_dim": 64, "full_attention_interval": 2, "layer_types": DELTA,
        "linear_key_head_dim": 32, "linear_value_head_dim": 32, "linear_num_key_heads": 2,
        "linear_num_value_heads": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 96,
        "shared_expert_intermediate_size": 64, "rope_parameters": rope(
            partial_rotary_factor=0.25, mrope_section=[3, 3, 2], mrope_interleaved=True)}),
}

# The same text models inside models with a vision tower, as most checkpoints of these families are.
TOWER = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 16}
WRAPPED = {
    "gemma3": ("gemma3", {"mm_tokens_per_image": 4}, TOWER | {"model_type": "siglip_vision_model", "image_size": 32}),
    "gemma4": ("gemma4", {"audio_config": None}, TOWER | {"num_key_value_heads": 2, "head_dim": 16}),
    "llama4": ("llama4", {}, TOWER | {"image_size": 32, "vision_output_dim": 32, "projector_input_dim": 32,
                                      "projector_output_dim": 32}),
    "qwen35": ("qwen3_5", {}, {"hidden_size": 32, "intermediate_size": 32, "depth": 1, "num_heads": 2, "patch_size": 16,
                               "out_hidden_size": 128, "num_position_embeddings": 16}),
}
for name, (wrapper, values, tower) in WRAPPED.items():
    text_type, text = FAMILIES[name]
    FAMILIES[f"{name}-vision"] = (wrapper, IDS | values | {
        "tie_word_embeddings": text["tie_word_embeddings"], "text_config": text | {"model_type": text_type},
        "vision_config": tower})


def fan_in(name, shape):
    """How many values an output of this weight sums up. transformers' fused experts of some families are (in, out)."""
    transposed = name.endswith(("experts.gate_up_proj", "experts.down_proj")) and shape[1] > shape[2]
    return shape[1] if transposed else shape[-1]


@torch.no_grad()
def randomize(model, seed):
    generator = torch.Generator().manual_seed(seed)

    def noise(tensor):
        return torch.randn(tensor.shape, generator=generator, dtype=torch.float32)

    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    for name, weight in model.named_parameters():
        if id(weight) in embeddings:
            # Where it is the output matrix too, small: or every token would predict itself, whatever the layers say.
            weight.copy_(noise(weight) * (2 / weight.shape[1] ** 0.5 if model.config.tie_word_embeddings else 1))
        elif weight.dim() >= 2:
            # Queries and keys a little larger: attention that prefers some tokens clearly.
            gain = 1.4 if any(part in name for part in ("q_proj", "k_proj", "qkv", "query_key", "Wqkv", "c_attn")) else 1
            weight.copy_(noise(weight) * gain / fan_in(name, weight.shape) ** 0.5)
        else:
            weight.add_(0.2 * noise(weight))  # around what it is by default: zero, one, ln A
    for name, values in model.named_buffers():
        if name.endswith(("e_score_correction_bias", "layer_scalar")):
            values.add_(0.2 * noise(values))


def make(family, folder):
    """Saves the family's model in `folder` and returns it, ready to compute."""
    model_type, values = FAMILIES[family]
    config = AutoConfig.for_model(model_type, **values)
    seed = zlib.crc32(family.encode())
    torch.manual_seed(seed)
    kind = AutoModelForImageTextToText if "vision_config" in values else AutoModelForCausalLM
    model = kind.from_config(config, attn_implementation="eager").to(torch.float32).eval()
    randomize(model, seed)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        '{"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "add_bos_token": false}\n')
    return model


def token_ids():
    """The parity test's: 48 that the tokenizer knows, the beginning of a text first."""
    generator = torch.Generator().manual_seed(48)
    return [1, *torch.randint(5, TOKENIZER_SIZE, (N_TOKENS - 1,), generator=generator).tolist()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("family", choices=["all", *FAMILIES], metavar="FAMILY|all",
                        help="one of: " + ", ".join(FAMILIES))
    parser.add_argument("outdir", type=Path)
    options = parser.parse_args()
    failed = []
    for family in FAMILIES if options.family == "all" else [options.family]:
        try:
            model = make(family, options.outdir / family)
            with torch.no_grad():
                logits = model(torch.tensor([token_ids()])).logits[0]
            print(f"{family:20} {sum(p.numel() for p in model.parameters()):>9,} weights, "
                  f"standard deviation of the logits {logits.std():.3f}", flush=True)
        except Exception as error:  # noqa: BLE001  (one family's trouble is no reason to make none)
            failed.append(family)
            print(f"{family:20} FAILED: {type(error).__name__}: {error}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

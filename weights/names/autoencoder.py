"""Autoencoders under every name they go by, as tables: diffusers (new and old), CompVis / LDM, and TAESD.

| naming                  | typical files                                                             |
|-------------------------|---------------------------------------------------------------------------|
| `diffusers`             | `vae/diffusion_pytorch_model.safetensors` of diffusers >= 0.13            |
| `diffusers, old names`  | the same with `query`, `key`, `value`, `proj_attn` (sd-vae-ft-mse, -ema)  |
| `CompVis`               | `vae-ft-mse-840000-ema-pruned`, a whole `v1-5-pruned.safetensors`         |
| `TAESD`                 | `taesd_encoder.pth` and `taesd_decoder.pth`, two plain sequences          |
"""

import re

from vdt_mlx.errors import VDTError
from weights.formats.tensors import StoredTensor

Tensors = dict[str, StoredTensor]

_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_COMPVIS_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_ELSEWHERE = ("loss.", "model_ema.", "model.diffusion_model.", "cond_stage_model.")
"""Other parts of the files that CompVis' trainer wrote: the discriminator, running averages, the denoiser."""
_SCHEDULE = re.compile(r"(log_|sqrt_|posterior_|alphas_|betas|logvar)[a-z0-9_]*")
"""The diffusion schedule, which those files carry as tensors of the top level."""


def normalize(files: list[Tensors], source: str) -> tuple[Tensors, str]:
    """Tensors under diffusers' current names, and the naming that they were found under."""
    if len(files) == 2 or is_sequence(files[0]):
        return _from_sequences(files), "TAESD"
    tensors = files[0]
    if any(name.startswith("first_stage_model.") for name in tensors):
        prefix = "first_stage_model."
        foreign = [n for n in tensors if not n.startswith((prefix, *_ELSEWHERE)) and not _SCHEDULE.fullmatch(n)]
        if foreign:
            raise VDTError(f"{source} holds tensors of no known part of Stable Diffusion: {foreign[:5]!a}.")
        tensors = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        tensors = {n: t for n, t in tensors.items() if not n.startswith(_ELSEWHERE)}
        return _from_compvis(tensors, source), "CompVis, first_stage_model"
    if any(name.startswith(("encoder.down.", "decoder.up.", "encoder.mid.", "decoder.mid.")) for name in tensors):
        tensors = {n: t for n, t in tensors.items() if not n.startswith(_ELSEWHERE)}
        return _from_compvis(tensors, source), "CompVis"
    if any(re.match(r"(taesd_)?(en|de)coder\.\d", name) for name in tensors):
        named = {n.removeprefix("taesd_"): t for n, t in tensors.items() if not n.startswith("vae_s")}
        parts = [{n.removeprefix(f"{p}."): t for n, t in named.items() if n.startswith(f"{p}.")} for p in _PARTS]
        if sum(map(len, parts)) != len(named):
            raise VDTError(f"{source} holds tensors that are no part of a TAESD.")
        return _from_sequences(parts), "TAESD"
    renamed: Tensors = {}
    old = False
    for name, tensor in tensors.items():
        new = re.sub(
            r"\.attentions\.(\d+)\.(query|key|value|proj_attn)\.",
            lambda match: f".attentions.{match.group(1)}.{_OLD_ATTENTION[match.group(2)]}.",
            name,
        )
        old = old or new != name
        _put(renamed, new, tensor, source)
    return renamed, "diffusers, old names" if old else "diffusers"


def _from_compvis(tensors: Tensors, source: str) -> Tensors:
    levels = 1 + max((int(m.group(1)) for n in tensors if (m := re.match(r"decoder\.up\.(\d{1,3})\.", n))), default=0)
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        _put(renamed, _compvis_name(name, levels), tensor, source)
    return renamed


def _compvis_name(name: str, levels: int) -> str:
    """`decoder.up.3.block.0.nin_shortcut.weight` -> `decoder.up_blocks.0.resnets.0.conv_shortcut.weight`."""
    name = re.sub(r"^encoder\.down\.(\d+)\.block\.(\d+)\.", r"encoder.down_blocks.\1.resnets.\2.", name)
    name = re.sub(r"^encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0.", name)
    up = re.match(r"^decoder\.up\.(\d{1,3})\.(block\.(\d+)|upsample)\.", name)
    if up is not None:
        inner = "upsamplers.0" if up.group(3) is None else f"resnets.{up.group(3)}"
        name = f"decoder.up_blocks.{levels - 1 - int(up.group(1))}.{inner}.{name[up.end() :]}"
    name = re.sub(r"^(encoder|decoder)\.mid\.block_([12])\.", _mid_resnet, name)
    attention = re.match(r"^(encoder|decoder)\.mid\.attn_1\.(norm|q|k|v|proj_out)\.", name)
    if attention is not None:
        part = _COMPVIS_ATTENTION[attention.group(2)]
        name = f"{attention.group(1)}.mid_block.attentions.0.{part}.{name[attention.end() :]}"
    name = name.replace(".nin_shortcut.", ".conv_shortcut.")
    return re.sub(r"^(encoder|decoder)\.norm_out\.", r"\1.conv_norm_out.", name)


def _mid_resnet(match: re.Match[str]) -> str:
    return f"{match.group(1)}.mid_block.resnets.{int(match.group(2)) - 1}."


_PARTS = ("encoder", "decoder")


def is_sequence(tensors: Tensors) -> bool:
    return bool(tensors) and all(re.match(r"\d{1,3}\.", name) for name in tensors)


def sequence_part(tensors: Tensors) -> str:
    # The decoder's layer 0 is its clamp, which has no weights.
    return "encoder" if "0.weight" in tensors else "decoder"


def _from_sequences(files: list[Tensors]) -> Tensors:
    """TAESD's two sequences as diffusers numbers them: without the clamp in front of the decoder."""
    renamed: Tensors = {}
    for part, tensors in zip(_PARTS, files, strict=True):
        shift = 1 if part == "decoder" and "0.weight" not in tensors else 0
        for name, tensor in tensors.items():
            index, dot, rest = name.partition(".")
            place = str(int(index) - shift) if index.isascii() and index.isdigit() and len(index) < 4 else index
            renamed[f"{part}.layers.{place}{dot}{rest}"] = tensor
    return renamed


def _put(table: Tensors, name: str, tensor: StoredTensor, source: str) -> None:
    if name in table:
        raise VDTError(f"{source} holds {name[:80]!a} twice, under two names.")
    table[name] = tensor

"""The embedded diffusion model: a small pipeline of the same class as full-size ones.

A diffusers `StableDiffusionInstructPix2PixPipeline` whose parts are small enough to ship: a
tokenizer of whole words of the domain, a CLIP text encoder, an autoencoder that shrinks images by
4 (by 8, a wire of 1-3 px would be lost) without normalisation (which blurs how thick things are),
and a UNet that sees the noisy latents of the maps beside
those of the mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmdtwin.errors import UserError
from mmdtwin.files import replacing_dir
from mmdtwin.synth.background.directory import quiet

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

IMAGE_CHANNELS = 3
SAMPLE_SIZE = 128  # px, at which the embedded model draws
PAD, UNKNOWN, START, END = "<pad>", "<unk>", "<s>", "</s>"
DOWN, UP = "DownBlock2D", "UpBlock2D"
CROSS_DOWN, CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"


@dataclass(frozen=True)
class Architecture:
    """Sizes of the parts; the defaults are the shipped model, 12.1 MB in half precision.

    Parameters
    ----------
    vae_width : int
        Channels of the autoencoder; at least the pixels of a 4 x 4 patch of three maps.
    encoder_blocks, decoder_blocks : tuple of int
        Residual blocks at each level; each level halves the resolution of the one before.
    latent_channels : int
        Channels of the latents. Of what 4 x 4 px of three maps show finer than 9 px, rms .08 in
        -log T, 16 lose .02, 12 lose .027 (principal components).
    unet_channels, unet_layers : tuple of int, int
        Channels of each level, and residual blocks in it.
    text_width, text_layers, text_length : int
        Width and depth of the text encoder; longest prompt, words.
    groups : int
        Groups of the UNet's norms; divides every number of channels.
    """

    vae_width: int = 48
    encoder_blocks: tuple[int, ...] = (0, 1, 2)
    decoder_blocks: tuple[int, ...] = (2, 2, 1)
    latent_channels: int = 16
    unet_channels: tuple[int, ...] = (48, 96, 128)
    unet_layers: int = 1
    text_width: int = 96
    text_layers: int = 2
    text_length: int = 32
    heads: int = 4
    groups: int = 8


def require_diffusion() -> None:
    """Raise a `UserError` that names the extra if diffusers or what it needs is missing."""
    from importlib.util import find_spec

    parts = ("torch", "diffusers", "transformers", "accelerate", "safetensors")
    missing = [name for name in parts if find_spec(name) is None]
    if missing:
        raise UserError(
            f"diffusion backgrounds need {', '.join(missing)}: pip install 'mmdtwin[diffusion]'"
        )


def build_pipeline(
    words: Sequence[str], architecture: Architecture | None = None, seed: int = 0
) -> Any:
    """Build an untrained `StableDiffusionInstructPix2PixPipeline`.

    Parameters
    ----------
    words : sequence of str
        The vocabulary, lower case; a word's place is its token, so append, never reorder.
    architecture : Architecture, optional
        Sizes of the parts.
    seed : int
        Of the initial weights.
    """
    require_diffusion()
    import torch

    with quiet():
        from diffusers import (
            AutoencoderTiny,
            StableDiffusionInstructPix2PixPipeline,
            UNet2DConditionModel,
        )
    from transformers import CLIPTextConfig, CLIPTextModel

    sizes = architecture or Architecture()
    tokenizer = build_tokenizer(words, sizes.text_length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = AutoencoderTiny(
            in_channels=IMAGE_CHANNELS,
            out_channels=IMAGE_CHANNELS,
            encoder_block_out_channels=(sizes.vae_width,) * len(sizes.encoder_blocks),
            decoder_block_out_channels=(sizes.vae_width,) * len(sizes.decoder_blocks),
            num_encoder_blocks=sizes.encoder_blocks,
            num_decoder_blocks=sizes.decoder_blocks,
            latent_channels=sizes.latent_channels,
        )
        shrink = 2 ** (len(sizes.encoder_blocks) - 1)
        deeper = len(sizes.unet_channels) - 1
        unet = UNet2DConditionModel(
            sample_size=SAMPLE_SIZE // shrink,
            in_channels=2 * sizes.latent_channels,
            out_channels=sizes.latent_channels,
            down_block_types=(DOWN,) + (CROSS_DOWN,) * deeper,
            up_block_types=(CROSS_UP,) * deeper + (UP,),
            block_out_channels=sizes.unet_channels,
            layers_per_block=sizes.unet_layers,
            cross_attention_dim=sizes.text_width,
            attention_head_dim=sizes.heads,
            norm_num_groups=sizes.groups,
        )
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=sizes.text_width,
                intermediate_size=2 * sizes.text_width,
                num_hidden_layers=sizes.text_layers,
                num_attention_heads=sizes.heads,
                max_position_embeddings=sizes.text_length,
                projection_dim=sizes.text_width,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    return StableDiffusionInstructPix2PixPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=default_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def default_scheduler() -> Any:
    """Return the embedded model's DDIM scheduler: v-prediction, and no signal at the last step.

    With some signal left at the last step of training, the mean brightness that sampling starts
    from is not the one it was trained with (Lin et al. 2024, arXiv 2305.08891).
    """
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
    )


def build_tokenizer(words: Sequence[str], length: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer of whole words: lower case, split at spaces and punctuation.

    Parameters
    ----------
    words : sequence of str
        The vocabulary.
    length : int
        Longest prompt, tokens, start and end included.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    special = [PAD, UNKNOWN, START, END]
    distinct = dict.fromkeys([*special, *(word.lower() for word in words)])
    vocabulary = {word: i for i, word in enumerate(distinct)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(word, vocabulary[word]) for word in (START, END)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=length,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=START,
        eos_token=END,
    )


def encode_images(vae: Any, images: torch.Tensor) -> torch.Tensor:
    """Return the latents (n, c, h, w) of images (n, 3, h, w), as the pipeline takes them."""
    found = vae.encode(images)
    return found.latents if hasattr(found, "latents") else found.latent_dist.mode()


def save_pipeline(
    pipeline: Any,
    path: Path,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Write a pipeline directory, in half precision; it is whole or absent.

    Parameters
    ----------
    pipeline : StableDiffusionInstructPix2PixPipeline
        It keeps its own precision.
    path : Path
        The directory; what was there is replaced.
    texts : mapping of str to str
        Further files by name.
    """
    import copy

    import torch

    kept = dict(pipeline.components)
    halves = {
        name: copy.deepcopy(kept[name]).to("cpu", torch.float16).eval()
        for name in ("vae", "text_encoder", "unet")
    }
    half = type(pipeline)(**{**kept, **halves}, requires_safety_checker=False)
    with replacing_dir(path) as part:
        half.save_pretrained(part, safe_serialization=True)
        for name, text in (texts or {}).items():
            (part / name).write_text(text)


def parameters(pipeline: Any) -> dict[str, int]:
    """Return the number of weights of each part."""
    return {
        name: sum(weight.numel() for weight in getattr(pipeline, name).parameters())
        for name in ("text_encoder", "vae", "unet")
    }

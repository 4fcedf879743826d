"""The card that goes beside a model's weights."""

from __future__ import annotations

from typing import Any

CT_LICENCE = (
    "The pairs derive from one CT, LIDC-IDRI-0001 (Armato III, S. G., et al. (2015), Data From "
    "LIDC-IDRI, The Cancer Imaging Archive, <https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX>), "
    "under CC BY 3.0 (<https://creativecommons.org/licenses/by/3.0/>). Attribution in full and "
    "what was changed: `sim/data/LICENSE-CT.md` of mmdtwin. Changed here: projected to maps of "
    "thickness, deformed, rescaled, mixed with analytic phantoms, and learnt by a network."
)
OTHER_LICENCE = "That of the folder's data, and of the base; this card cannot know them."
MEANING = {
    "detail_error": "autoencoder: rms error of -log T finer than 9 px, tissue and bone",
    "detail": "rms of that detail itself",
    "thin_contrast": "autoencoder: contrast left of thin contrast medium and metal",
    "mask_error": "autoencoder: rms error of mask pictures, whose range is 2",
    "texture_ratio": "rms of -log T finer than 9 px over that of the pairs with the same masks",
    "depth_error": "rms difference of -log T from the pairs with the same masks",
    "held_out_loss": "mean weighted error of denoising held-out pairs",
}


def model_card(record: dict[str, Any]) -> str:
    """Return the card, Markdown, of what `training.json` records.

    Parameters
    ----------
    record : dict
        See `training.run.write_model`.
    """
    hours = record["seconds"] / 3600.0
    total = hours + record["seconds_before"] / 3600.0
    weights = ", ".join(f"{name} {n / 1e6:.2f} M" for name, n in record["weights"].items())
    rows = [
        f"| {MEANING.get(name, name)} | {value:.4g} |" for name, value in record["figures"].items()
    ]
    base = record["base"] or "none: from initial weights"
    lines = [
        "# Background model",
        "",
        "A diffusers `StableDiffusionInstructPix2PixPipeline`: from a prompt and the picture of a "
        "class mask it draws maps of the thickness of soft tissue, bone, and contrast medium or "
        "metal along X-rays. Made by mmdtwin; load it with "
        "`mmdtwin.synth.BackgroundGenerator`.",
        "",
        f"- Weights: {weights}; half precision, safetensors.",
        f"- Base: {base}.",
        f"- Draws at {record['native_size']} px; {record['prediction_type']}.",
        "",
        "## Data",
        "",
        f"- {record['pairs']} pairs of maps, mask and caption to train on ({record['digest']}), "
        f"{record['held_out']} held out.",
        f"- {record['data']}.",
        "",
        "## Licence",
        "",
        CT_LICENCE if record["own_pairs"] else OTHER_LICENCE,
        "",
        "## Training",
        "",
        f"    {record['command']}",
        "",
        f"- Seed {record['seed']}; steps: autoencoder {record['steps']['vae']}, UNet "
        f"{record['steps']['unet']} of {record['batch']} pairs.",
        f"- {hours:.2f} hours, {total:.2f} in all, on {record['machine']}.",
        f"- Made with {record['versions']}.",
        "",
        "## Figures",
        "",
        "| what | value |",
        "|---|---|",
        *rows,
        "",
        "## Limits",
        "",
        "- For simulation and for training detectors; not for diagnosis, and no likeness of any "
        "patient's images.",
        "- Structure finer than its own pixels is added by statistics, not drawn by the model.",
        "- Words outside its vocabulary are ignored (with a warning).",
        "",
    ]
    return "\n".join(lines)

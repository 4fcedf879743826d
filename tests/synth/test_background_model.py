"""The embedded background model, full-size bases, their training, and what is refused."""

import json
import os
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch = pytest.importorskip("torch")
pytest.importorskip("diffusers", reason="the extra 'diffusion' is not installed")

from mmdtwin.cli.app import app  # noqa: E402
from mmdtwin.errors import UserError  # noqa: E402
from mmdtwin.synth.background.classes import LAYERS, pack  # noqa: E402
from mmdtwin.synth.background.directory import check_directory, load_pipeline  # noqa: E402
from mmdtwin.synth.background.fine_structure import projected_field, refine, seen_strength  # noqa: E402
from mmdtwin.synth.background.generator import BackgroundGenerator  # noqa: E402
from mmdtwin.synth.background.maps import encode  # noqa: E402
from mmdtwin.synth.background.memory import GIB, estimate_memory  # noqa: E402
from mmdtwin.synth.background.model import (  # noqa: E402
    Architecture,
    build_pipeline,
    build_tokenizer,
    default_scheduler,
    encode_images,
    parameters,
    save_pipeline,
)
from mmdtwin.synth.background.pair_files import StoredPairs, export_images  # noqa: E402
from mmdtwin.synth.background.training.pair_set import PairSet  # noqa: E402
from mmdtwin.synth.background.training.run import Settings, train_background  # noqa: E402
from mmdtwin.synth.background.training.unet import GAMMA, snr_weight, widen_input  # noqa: E402
from mmdtwin.synth.background.training.vae import balance_latents  # noqa: E402
from mmdtwin.synth.background.training.vae_start import start_from_patches  # noqa: E402
from mmdtwin.synth.xray.texture import LONGEST, SLOPE, SOFT, power_law_field  # noqa: E402
from mmdtwin.training.accelerator import make_accelerator  # noqa: E402
from mmdtwin.training.loop import Schedule, train  # noqa: E402

SIDE = 32  # px
COARSE_PIXEL = 1.2e-3  # m
WORDS = ("dense", "bone", "with", "contrast", "chest")
TINY = Architecture(
    encoder_blocks=(0, 0, 1), decoder_blocks=(1, 0, 0), latent_channels=8, unet_channels=(16, 32),
    text_width=16, text_layers=1, text_length=12, heads=2,
)  # fmt: skip


def make_pairs(count, seed=0):
    """Smooth tissue, a bar of bone that its mask knows, and a thin wire."""
    rng = np.random.default_rng(seed)
    maps = np.zeros((count, 3, SIDE, SIDE), np.float32)
    masks = np.zeros((count, len(LAYERS), SIDE, SIDE), bool)
    u = np.linspace(0.0, 1.0, SIDE)
    for i in range(count):
        slope = rng.uniform(-0.05, 0.05, 2)
        maps[i, 0] = 0.15 + slope[0] * u + slope[1] * u[:, None]
        row, column = rng.integers(2, SIDE - 10, 2)
        maps[i, 1, row : row + 6] = 0.01
        maps[i, 2, :, column] = 3e-4
        masks[i, LAYERS.index("soft-tissue")] = True
        masks[i, LAYERS.index("bone"), row : row + 6] = True
        masks[i, LAYERS.index("metal"), :, column] = True
    return PairSet(
        encode(maps).astype(np.float16),
        pack(masks),
        ["dense bone with contrast"] * count,
        f"test-{count}-{seed}",
    )


def make_base(path):
    """A text-to-image pipeline directory of the parts that Stable Diffusion 1.5 has, but tiny."""
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel

    ours = build_pipeline(WORDS, TINY)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16), norm_num_groups=4, latent_channels=4,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=SIDE // 2, block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), attention_head_dim=2,
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=TINY.text_width,
    )  # fmt: skip
    scheduler = type(default_scheduler())(
        beta_schedule="scaled_linear", clip_sample=False, steps_offset=1, set_alpha_to_one=False
    )
    StableDiffusionPipeline(
        vae=vae, text_encoder=ours.text_encoder, tokenizer=ours.tokenizer, unet=unet,
        scheduler=scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(path)  # fmt: skip
    return path


@pytest.fixture(scope="module")
def pairs():
    return make_pairs(12)


@pytest.fixture(scope="module")
def model(tmp_path_factory, pairs):
    """The directory of a tiny model trained for a few steps, as the command trains it."""
    folder = tmp_path_factory.mktemp("model")
    settings = Settings(
        run=folder / "run", architecture=TINY,
        vae=Schedule(3, 6, 1e-4, 1, 0.9), unet=Schedule(3, 4, 1e-3, 1, 0.9),
    )  # fmt: skip
    pipeline, outcome = train_background(settings, pairs, make_pairs(4, 1))
    assert outcome.vae.finished and outcome.unet.finished
    save_pipeline(pipeline, folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base") / "sd")


@pytest.fixture
def copy(model, tmp_path):
    return shutil.copytree(model, tmp_path / "copy")


def test_shipped_size():
    """16 MB is the limit on the embedded model: two bytes a weight, and 0.3 MB for the rest."""
    weights = sum(parameters(build_pipeline(WORDS)).values())
    assert 2 * weights + 0.3e6 < 16e6


def test_tokenizer_knows_words_whole():
    tokenizer = build_tokenizer(WORDS, 8)
    ids = tokenizer("Dense bone, weird").input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == [
        "<s>",
        "dense",
        "bone",
        "<unk>",
        "<unk>",
        "</s>",
    ]


@pytest.mark.parametrize("scheduler", ["ddim", "dpm++", "lcm"])
def test_same_seed_same_maps(model, pairs, scheduler):
    generator = BackgroundGenerator(model, scheduler=scheduler)
    masks = pairs.masks(np.arange(2))
    first, second = (
        generator.generate("dense bone", masks, seed=[5, 6], size=96, steps=3) for _ in range(2)
    )
    for one, other in zip(first, second, strict=True):
        assert one.maps.shape == (3, 96, 96) and one.maps.dtype == np.float32
        assert np.array_equal(one.maps, other.maps)
        assert np.isfinite(one.maps).all() and one.maps.min() >= 0.0
        assert one.pixel_size == pytest.approx(0.15 / 96)
    other_seed = generator.generate("dense bone", masks, seed=[7, 8], size=96, steps=3)
    assert not np.array_equal(first[0].maps, other_seed[0].maps)


def test_saved_model_is_the_trained_one(model, tmp_path):
    """Half precision keeps 11 bits: sampled latents of a few units differ by about 1e-3."""
    loaded = load_pipeline(model)
    save_pipeline(loaded, tmp_path / "again")
    again = load_pipeline(tmp_path / "again")
    for name in ("unet", "vae", "text_encoder"):
        for one, other in zip(
            getattr(loaded, name).parameters(), getattr(again, name).parameters(), strict=True
        ):
            assert torch.equal(one, other) and one.dtype == torch.float32
    files = [file.suffix for file in model.rglob("*") if file.is_file()]
    assert set(files) == {".json", ".safetensors"}


def test_autoencoder_starts_as_a_code(pairs):
    """Fitted layer by layer it beats the best constant picture by far; random weights do not."""
    images = torch.from_numpy(pairs.images(np.arange(8)))
    vae = build_pipeline(WORDS, TINY).vae

    def error():
        with torch.no_grad():
            return float((vae.decode(encode_images(vae, images)).sample - images).std())

    constant = float((images - images.mean((0, 2, 3), keepdim=True)).std())
    assert error() > 0.9 * constant
    start_from_patches(vae, pairs)
    assert error() < 0.4 * constant


def test_latents_spread_by_what_they_show(pairs):
    """Reconstruction stays what it was; the channel that shows most is the widest, by far."""
    vae = build_pipeline(WORDS, TINY).vae.requires_grad_(False)
    start_from_patches(vae, pairs)
    images = torch.from_numpy(pairs.images(np.arange(12)))
    before = vae.decode(encode_images(vae, images)).sample
    spread = encode_images(vae, images).std((0, 2, 3))
    balance_latents(vae, pairs)
    latents = encode_images(vae, images)
    assert (vae.decode(latents).sample - before).abs().max() < 0.02
    scaled = latents * vae.config.scaling_factor
    assert float(scaled.std()) == pytest.approx(1.0, rel=0.02)
    assert float(spread.max() / spread.min()) < 1.5
    assert float(scaled.std((0, 2, 3)).max() / scaled.std((0, 2, 3)).min()) > 3.0


def test_interrupted_training_takes_the_same_steps(tmp_path):
    """Resumed after every step or not at all: the weights agree bit by bit."""

    class Fit:
        name = "fit"
        mixed = False

        def __init__(self, stop_at=None):
            torch.manual_seed(0)
            self.net = torch.nn.Linear(3, 2)
            self.modules, self.calls, self.stop_at = {"net": self.net}, 0, stop_at

        def size(self):
            return 50

        def loss(self, indices, generator):
            self.calls += 1
            if self.calls == self.stop_at:
                raise KeyboardInterrupt
            x = torch.randn(len(indices), 3, generator=generator)
            return (self.net(x) - torch.from_numpy(indices[:, None]).float()).square().mean()

        def validate(self):
            return {}, None

    accelerator = make_accelerator("cpu")
    schedule = Schedule(steps=6, batch=4, rate=1e-2, warmup=2, ema=0.9)
    whole = Fit()
    train(whole, schedule, tmp_path / "whole", accelerator)
    for _ in range(2):
        part = Fit(stop_at=3)
        with pytest.raises(KeyboardInterrupt):
            train(part, schedule, tmp_path / "parts", accelerator, save_every=0.0)
    last = Fit()
    progress = train(last, schedule, tmp_path / "parts", accelerator)
    assert last.calls == 2 and progress.finished
    assert torch.equal(whole.net.weight, last.net.weight)
    assert len(list((tmp_path / "parts").glob("checkpoint-*"))) <= 2
    with pytest.raises(UserError, match="batch"):
        train(Fit(), Schedule(6, 5, 1e-2), tmp_path / "parts", accelerator)


no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize(
    ("device", "precision"),
    [("cpu", "no"), ("cpu", "bf16"), pytest.param("cuda", None, marks=no_gpu)],
)
def test_training_lowers_the_loss(model, pairs, tmp_path, device, precision):
    """From the first steps' weights, 300 more lower the denoising error of held-out pairs."""
    held_out = make_pairs(4, 1)
    losses = []
    for steps in (1, 300):
        unet = Schedule(steps, 8, 3e-3, 1, 0.8)
        run = tmp_path / str(steps)
        settings = Settings(run, model, unet=unet, device=device, precision=precision)
        losses.append(train_background(settings, pairs, held_out)[1].figures["held_out_loss"])
    assert losses[1] < 0.8 * losses[0]


def test_precision_that_a_cpu_lacks_is_refused():
    with pytest.raises(UserError, match="not on a CPU; allowed: no, bf16"):
        make_accelerator("cpu", "fp16")


def test_widened_unet_computes_what_it_did(base):
    unet = load_pipeline(base).unet
    rng = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 16, 16, generator=rng)
    text = torch.randn(2, 12, TINY.text_width, generator=rng)
    with torch.no_grad():
        before = unet(latents, 5, text).sample
        widen_input(unet, 8)
        more = torch.cat([latents, torch.randn(2, 4, 16, 16, generator=rng)], 1)
        after = unet(more, 5, text).sample
    assert unet.config.in_channels == 8
    assert torch.allclose(before, after, atol=1e-6)


@pytest.mark.parametrize("lora", [0, 2])
def test_full_size_path(base, pairs, tmp_path, lora):
    """A base of Stable Diffusion's shape is widened, trained, written, read and sampled."""
    if lora:
        pytest.importorskip("peft", reason="LoRA needs peft")
    settings = Settings(
        tmp_path / "run", base, unet=Schedule(2, 2, 1e-3, 1, 0.5), lora=lora, checkpointing=True
    )
    pipeline, outcome = train_background(settings, pairs, make_pairs(2, 1))
    save_pipeline(pipeline, tmp_path / "out")
    unet = load_pipeline(tmp_path / "out").unet
    first = unet.conv_in.weight
    assert not any("lora" in name or "base_layer" in name for name in unet.state_dict())
    assert outcome.unet.step == 2 and first.shape[1] == 8
    assert first[:, 4:].abs().max() > 0.0, "the mask's channels have not been trained"
    found = BackgroundGenerator(tmp_path / "out").generate(
        "bone", pairs.masks(np.arange(1)), size=64, steps=2
    )
    assert found[0].maps.shape == (3, 64, 64)


def test_memory_of_a_full_size_model(tmp_path):
    """Stable Diffusion 1.5 has 859.5 M, 83.7 M and 123.1 M weights; nothing is allocated."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig

    with torch.device("meta"):
        UNet2DConditionModel(sample_size=64, cross_attention_dim=768).save_config(tmp_path / "unet")
        AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        ).save_config(tmp_path / "vae")  # fmt: skip
    CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
    ).save_pretrained(tmp_path / "text_encoder")
    found = estimate_memory(tmp_path)
    print(f"needs {found.sampling / GIB:.1f} GB to sample, {found.training / GIB:.1f} to train")
    assert found.weights == pytest.approx(4 * (859.5 + 83.7 + 123.1) * 1e6, rel=2e-3)
    assert found.weights < found.sampling < 3 * found.weights
    assert found.training > 5 * 4 * 859.5e6


def test_model_without_enough_memory_says_how_much(model, monkeypatch):
    monkeypatch.setattr("mmdtwin.synth.background.memory.free_memory", lambda _device: 1000)
    with pytest.raises(UserError, match=r"sampling needs about [\d.]+ GB"):
        BackgroundGenerator(model)


def _pickled(path):
    (path / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (path / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04")


def _cut(path):
    file = path / "vae" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _other_class(path):
    index = json.loads((path / "model_index.json").read_text())
    (path / "model_index.json").write_text(json.dumps({**index, "_class_name": "FluxPipeline"}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: shutil.rmtree(p), "no such folder"),
        (lambda p: (p / "model_index.json").unlink(), "model_index.json is missing"),
        (lambda p: (p / "model_index.json").write_text("{"), "model_index.json is broken"),
        (lambda p: shutil.rmtree(p / "text_encoder"), "part 'text_encoder' is missing"),
        (lambda p: (p / "unet" / "config.json").unlink(), "part 'unet' has no config.json"),
        (lambda p: (p / "scheduler" / "scheduler_config.json").unlink(), "part 'scheduler'"),
        (_cut, "part 'vae' is broken"),
        (_pickled, "safetensors only"),
        (_other_class, "is a FluxPipeline"),
    ],
)
def test_broken_directory_names_the_part(copy, spoil, message):
    spoil(copy)
    with pytest.raises(UserError, match=message):
        check_directory(copy)


def test_pickled_file_is_refused(tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"\x80\x04")
    with pytest.raises(UserError, match="safetensors only"):
        BackgroundGenerator(tmp_path / "model.ckpt")


def test_bad_requests_are_refused(model, pairs):
    generator = BackgroundGenerator(model)
    mask = pairs.masks(np.arange(1))[0]
    with pytest.raises(UserError, match="is empty"):
        generator.generate("bone", np.zeros_like(mask))
    with pytest.raises(UserError, match="expected"):
        generator.generate("bone", mask[:4])
    with pytest.raises(UserError, match="square"):
        generator.generate("bone", mask[:, :20])
    with pytest.raises(UserError, match="binary"):
        generator.generate("bone", mask * 2.0)
    with pytest.raises(UserError, match="2 seeds for 3"):
        generator.generate(["bone"] * 3, mask, seed=[1, 2])
    for name, value in (("size", 9), ("steps", 0), ("field", 3.0), ("guidance_scale", 0.5)):
        with pytest.raises(UserError, match=name.replace("_", " ")):
            generator.generate("bone", mask, **{name: value})
    with pytest.raises(UserError, match="scheduler 'fast'"):
        BackgroundGenerator(model, scheduler="fast")
    with pytest.raises(UserError, match="device 'tpu'"):
        BackgroundGenerator(model, device="tpu")


def test_unknown_words_are_warned_of(model, pairs):
    with pytest.warns(UserWarning, match=r"unknown word 'bonee'.*bone"):
        BackgroundGenerator(model).generate(
            "dense bonee", pairs.masks(np.arange(1)), size=64, steps=1
        )


def test_snr_weights():
    """Of the error of the clean latents a step counts min(SNR, 5), and 1 more for velocity."""
    alphas = torch.tensor([0.0, 0.5, 0.99])
    ratio = alphas / (1 - alphas)
    assert torch.allclose(snr_weight(alphas, True) * (ratio + 1), ratio.clamp(max=GAMMA) + 1)
    assert torch.allclose(snr_weight(alphas, False)[1:] * ratio[1:], ratio[1:].clamp(max=GAMMA))


def textured_maps(strength, thickness=0.16):
    """Maps of 1.2 mm a pixel whose soft tissue shows the fields' structure, so strong."""
    rng = np.random.default_rng(0)
    maps = np.zeros((3, 64, 64), np.float32)
    wave = projected_field(64, COARSE_PIXEL, strength * SOFT, LONGEST, 1.0, rng)
    maps[0] = thickness + np.sqrt(thickness) * wave
    return maps


def test_fine_structure_is_fine_and_as_strong_as_what_the_map_shows():
    """Coarse pixels of 1.2 mm carry waves to .42 per mm; only finer ones are added.

    Their variance goes with that of the waves the map shows, and nothing is added to water.
    """
    flat = np.zeros((3, 64, 64), np.float32)
    flat[0] = 0.16
    assert np.allclose(
        refine(flat, 256, COARSE_PIXEL, np.random.default_rng(0))[0], 0.16, atol=1e-6
    )
    k = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(256, COARSE_PIXEL / 4)]))
    power = []
    for strength in (0.5, 1.0):
        maps = textured_maps(strength)
        fine = refine(maps, 256, COARSE_PIXEL, np.random.default_rng(1))
        assert fine[1].max() == 0.0 and fine[2].max() == 0.0
        assert fine.mean() == pytest.approx(maps.mean(), rel=1e-3)
        power.append(np.abs(np.fft.fft2(fine[0] - fine[0].mean())) ** 2)
    assert power[1][k > 500].sum() == pytest.approx(4.0 * power[0][k > 500].sum(), rel=0.05)
    law = 0.16 * SOFT**2 * (1 / LONGEST**2 + k**2) ** (-SLOPE / 2)
    band = (k > 500) & (k < 800)
    known = (k > 200) & (k < 250)
    over = power[1][band].mean() / law[band].mean()
    assert over == pytest.approx(power[1][known].mean() / law[known].mean(), rel=0.3)


@pytest.mark.parametrize("strength", [0.3, 1.0, 2.0])
def test_strength_of_structure_is_measured(strength):
    """To 15 %, of a few hundred independent places; to 40 % where sharp edges touch an eighth."""
    maps = textured_maps(strength)
    found = seen_strength(maps[0], COARSE_PIXEL, SOFT, LONGEST, 0.02)
    assert found == pytest.approx(strength, rel=0.15)
    maps[0, 20:30] -= 0.02
    crossed = seen_strength(maps[0], COARSE_PIXEL, SOFT, LONGEST, 0.02)
    assert crossed == pytest.approx(strength, rel=0.4)


def test_projected_field_has_the_variance_of_its_law():
    """Summed slices of the volume's own field, 64 voxels thick, vary as the drawn one: to 30 %,
    since the field is sharpened where linear interpolation would blur it."""
    voxel, size = 0.7e-3, 64
    field = power_law_field(size, voxel, SLOPE, LONGEST, np.random.default_rng(2))
    thickness = SOFT * voxel * field.sum(axis=0)
    k = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(size, voxel)]))
    band = (k > 150.0) & (k < 400.0)  # 1/m
    drawn = projected_field(size, voxel, SOFT, LONGEST, 50.0, np.random.default_rng(3))
    drawn = drawn * np.sqrt(size * voxel)
    summed, flat = (np.abs(np.fft.fft2(f))[band] ** 2 for f in (thickness, drawn))
    assert flat.mean() == pytest.approx(summed.mean(), rel=0.3)


def test_command_trains_from_a_folder_of_images(base, pairs, tmp_path):
    """It stops when time is up with exit code 1, goes on with 0, and the card tells both."""
    folder = tmp_path / "images"
    stored = StoredPairs(
        pairs.encoded, pairs.bits, pairs.captions, [""] * len(pairs), np.zeros(len(pairs))
    )
    export_images(stored, folder)
    command = [
        "train", "background", "--data", str(folder), "--base", str(base), "--steps", "2",
        "--batch", "2", "--run", str(tmp_path / "run"), "--out", str(tmp_path / "model"),
    ]  # fmt: skip
    first = CliRunner().invoke(app, [*command, "--minutes", "0"])
    assert first.exit_code == 1, first.output
    assert "needs about" in first.output
    second = CliRunner().invoke(app, command)
    assert second.exit_code == 0, second.output
    card = (tmp_path / "model" / "MODEL_CARD.md").read_text()
    assert (
        "UNet 2 of 2 pairs" in card and "A folder named by --data" in card and "CC BY" not in card
    )
    check_directory(tmp_path / "model")
    wrong = CliRunner().invoke(app, [*command[:-1], str(folder)])
    assert isinstance(wrong.exception, UserError) and "model_index.json" in str(wrong.exception)


@pytest.mark.parametrize("what", ["background", "segmenter"])
def test_device_that_is_not_there_is_refused_before_pairs_are_made(tmp_path, what):
    run = tmp_path / "run"
    result = CliRunner().invoke(app, ["train", what, "--device", "cuda:9", "--run", str(run)])
    assert isinstance(result.exception, UserError)
    assert "device 'cuda:9': not on this machine" in str(result.exception)
    assert not run.exists()

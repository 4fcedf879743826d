"""Training of the learned detector: patches, their labels, and the job."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mmdtwin.errors import UserError
from mmdtwin.perception.learned.finds import read_finds
from mmdtwin.perception.learned.network import slices
from mmdtwin.perception.training.job import STRATEGIES, DetectorJob, recall_at
from mmdtwin.perception.training.patches import SIDE, anywhere, around, cut_patch
from mmdtwin.perception.training.samples import Device, Sample, read_samples

torch = pytest.importorskip("torch")

from mmdtwin.perception.learned.network import build_network  # noqa: E402
from mmdtwin.training.accelerator import make_accelerator  # noqa: E402
from mmdtwin.training.loop import Schedule, train  # noqa: E402


def sample(u, v, length=20, angle=0.4, d_prime=30.0, size=200, seed=0, kind=1):
    """A bar of a length at (u, v) in an image of noise."""
    along = length / 2 * np.array([np.cos(angle), np.sin(angle)])
    drawn = np.zeros((size, size), np.uint8)
    a, b = (np.rint(np.array([u, v]) + s * along).astype(int).tolist() for s in (-1, 1))
    cv2.line(drawn, a, b, 1, 5)
    rows, columns = np.nonzero(drawn.any(axis=1))[0], np.nonzero(drawn.any(axis=0))[0]
    box = (int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
    mask = drawn[box[0] : box[1], box[2] : box[3]] > 0
    image = np.random.default_rng(seed).poisson(800.0 * (1 - 0.3 * drawn)).astype(np.uint16)
    centre = np.array([u, v])
    device = Device(centre, np.stack([centre - along, centre + along]), kind, d_prime, box, mask)
    return Sample(image, 900.0, (device,), seed)


def said(patch):
    """Read finds off what a patch's labels say."""
    grid = patch.wanted.copy()
    grid[0] = np.where(patch.wanted[0] >= 1.0, 5.0, -9.0)
    return read_finds(grid, 8.0 * patch.mask - 4.0, 0.5)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(60, 140), st.floats(60, 140), st.floats(-1.5, 1.5), st.integers(0, 2**31),
)  # fmt: skip
def test_labels_follow_what_is_done_to_a_patch(u, v, angle, seed):
    whole = sample(u, v, angle=angle)
    rng = np.random.default_rng(seed)
    patch = cut_patch(rng, whole, around(rng, whole, whole.devices[0].centre))
    [find] = said(patch)
    assert_allclose(find.length, 20.0, rtol=1e-3)
    # The mask of the find lies where the patch is darkest, along the axis that is said.
    r0, r1, c0, c1 = find.box
    dark = cv2.GaussianBlur(patch.image[1], (0, 0), 1.5)
    inside = dark[r0:r1, c0:c1][find.mask]
    assert inside.mean() < dark.mean() - 2.0 * dark.std()
    ends = find.centre + 6.0 * np.array(
        [[np.cos(find.angle), np.sin(find.angle)], [-np.cos(find.angle), -np.sin(find.angle)]]
    )
    across = find.centre + 8.0 * np.array([-np.sin(find.angle), np.cos(find.angle)])

    def at(place):
        column, row = np.clip(np.rint(place).astype(int), 0, SIDE - 1)
        return dark[row, column]

    assert max(at(ends[0]), at(ends[1])) < at(across)


def test_what_nobody_can_see_is_neither_asked_for_nor_held_against():
    hopeless = sample(100.0, 100.0, d_prime=1.0)
    rng = np.random.default_rng(0)
    patch = cut_patch(rng, hopeless, np.array([40, 40]), vary=False)
    assert not patch.asked.any()
    assert patch.counts[15, 15] == 0.0
    assert patch.counts[0, 0] == 1.0
    assert patch.mask_counts.min() == 0.0


def test_noise_that_is_added_lowers_what_can_be_seen():
    whole = sample(100.0, 100.0, d_prime=20.0)
    strengths = []
    for seed in range(40):
        patch = cut_patch(np.random.default_rng(seed), whole, np.array([40, 40]))
        strengths.append(float(np.expm1(patch.wanted[slices()["strength"]].max())))
    assert min(strengths) < 19.0
    assert max(strengths) == pytest.approx(20.0, rel=1e-3)


def test_devices_that_are_cut_off_are_no_false_alarms():
    whole = sample(100.0, 100.0, length=30, angle=0.0)
    patch = cut_patch(
        np.random.default_rng(0), whole, np.array([106, 40])[::1].clip(0, 72), vary=False
    )
    first = np.array([72, 40])
    assert patch.wanted[0].max() in (0.0, 1.0)
    beside = cut_patch(np.random.default_rng(0), sample(64.0, 100.0, 30, 0.0), first, vary=False)
    assert beside.wanted[0].max() == 0.0
    assert beside.counts.min() == 0.0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_strategy_learns(strategy, tmp_path):
    torch.manual_seed(0)
    samples = [sample(60 + 8 * i, 120 - 6 * i, seed=i, size=256) for i in range(8)]
    job = DetectorJob(build_network(), samples, samples[:2], strategy)
    fixed = np.arange(8)
    before = float(job.loss(fixed, torch.Generator()).detach())
    train(job, Schedule(12, 4, 3e-3, 3, 0.9), tmp_path, make_accelerator("cpu"))
    with torch.no_grad():
        after = float(job.loss(fixed, torch.Generator()))
    assert after < 0.8 * before


def test_a_run_that_was_stopped_remembers_hard_places(tmp_path, monkeypatch):
    from mmdtwin.perception.training import job as module

    monkeypatch.setattr(module, "MINE_FROM", 0)
    monkeypatch.setattr(module, "EVERY", 2)
    monkeypatch.setattr(module, "ALARM", 0.0)
    samples = [sample(100, 100, seed=i) for i in range(3)]
    schedule = Schedule(6, 2, 1e-3, 2, 0.9)

    def run(folder, *steps):
        for count in steps:
            torch.manual_seed(0)
            job = DetectorJob(build_network(), samples, samples[:1])
            limit = Schedule(count, 2, 1e-3, 2, 0.9)
            # Learning rates go by the whole schedule.
            monkeypatch.setattr(Schedule, "rate_at", lambda _, step: schedule.rate * (step + 1))
            train(job, limit, folder, make_accelerator("cpu"))
        return job

    once, twice = run(tmp_path / "a", 6), run(tmp_path / "b", 3, 6)
    assert int(once.memory["steps"][1]) > 0
    for name, value in once.memory.items():
        assert torch.equal(value, twice.memory[name])
    for a, b in zip(once.network.parameters(), twice.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_recall_is_of_what_passes_the_threshold():
    samples = [sample(100, 100, d_prime=12.0), sample(100, 100, d_prime=8.0)]

    class Found:
        def __init__(self, u, score):
            self.centre, self.score = np.array([u, 100.0]), score

    finds = [[Found(101.0, 0.9), Found(20.0, 0.5)], [Found(100.0, 0.4)]]
    figures = recall_at(samples, finds)
    assert figures["threshold"] == 0.5
    assert figures["recall_10"] == 1.0
    assert figures["recall_7"] == 0.0
    assert figures["centre_px"] == pytest.approx(1.0)


def test_a_folder_that_is_no_dataset_says_so(tmp_path):
    with pytest.raises(UserError, match=r"coco-train\.json is missing"):
        read_samples(tmp_path, "train")
    (tmp_path / "coco-train.json").write_text(
        json.dumps(
            {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": []}
        )
    )
    with pytest.raises(UserError, match=r"a\.png is missing"):
        read_samples(tmp_path, "train")


def test_patches_anywhere_lie_in_the_image():
    rng = np.random.default_rng(0)
    whole = sample(100, 100)
    for _ in range(50):
        first = anywhere(rng, whole)
        assert (first >= 0).all()
        assert (first + SIDE <= 200).all()

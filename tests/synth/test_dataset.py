"""Datasets: the same bytes however they are written, labels that other tools read."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from typer.testing import CliRunner

from mmdtwin.cli.app import app
from mmdtwin.config import parse, read
from mmdtwin.config.randomisation import DEVICES, RandomisationConfig
from mmdtwin.errors import UserError
from mmdtwin.synth.dataset import shards
from mmdtwin.synth.dataset import write as writing
from mmdtwin.synth.dataset.cluster import made_by_cluster
from mmdtwin.synth.dataset.shards import read_flow, read_image, read_records
from mmdtwin.synth.dataset.write import VIEWS as SHARD_VIEWS
from mmdtwin.synth.dataset.write import Order, write_dataset

SIDE, VIEWS = 96, 10  # px, and views: a whole shard and a part of one
CHANGES = ("size=96", "images_per_background=2", "background.weights.diffusion=0")


def order(count=2 * VIEWS, seed=4, **more):
    data = read("randomisation", "default")[0]
    data |= {"size": SIDE, "images_per_background": 2}
    data["background"] = {"weights": {"bank": 0.5, "flat": 0.5}, "why": "fast"}
    return Order(parse(RandomisationConfig, data, "test"), count, seed, **more)


def sums(folder):
    """Checksums of all files by name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("croissant.json",)  # names its folder
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_dataset(order(), tmp_path_factory.mktemp("dataset") / "one")


def test_two_workers_write_the_same_bytes(made, tmp_path):
    assert sums(write_dataset(order(), tmp_path / "two", workers=2)) == sums(made)


def test_broken_shards_are_written_anew(made, tmp_path):
    """A file that has changed, one that is missing, and a shard without a record."""
    folder = write_dataset(order(), tmp_path / "again")
    image = folder / "images" / "00000003.png"
    image.write_bytes(image.read_bytes()[:-9])
    (folder / "shards" / "still-00001.json").unlink()
    counts = []
    write_dataset(order(), folder, progress=counts.append)
    assert counts[0] == 0 and sums(folder) == sums(made)
    write_dataset(order(), folder, progress=counts.append)
    assert counts[-1] == 2 * VIEWS and len(counts) == 3 + 1


def test_killed_run_goes_on_with_the_same_bytes(tmp_path):
    """SIGKILL in the middle of a shard; the same command ends as a run that was left alone."""
    run = "from mmdtwin.cli import main; main()"
    command = [sys.executable, "-c", run, "synth", "dataset", "-n", "64", "--seed", "7"]
    command += [x for change in CHANGES for x in ("--set", change)]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([*command, "--out", str(killed)], stdout=subprocess.DEVNULL)
    while not list(killed.glob("images/*.png")):
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "coco-train.json").exists()
    for folder in (killed, whole):
        subprocess.run([*command, "--out", str(folder)], check=True, stdout=subprocess.DEVNULL)
    left = {name: value for name, value in sums(killed).items() if ".part-" not in name}
    assert left == sums(whole)


def test_more_images_keep_those_that_are_there(made, tmp_path):
    folder = write_dataset(order(2 * SHARD_VIEWS + 2), tmp_path / "more")
    write_dataset(order(), folder)
    assert sums(folder) == sums(made)


def test_coco_reads_it(made):
    records = {r["id"]: r for r in read_records(made)}
    seen = 0
    for split in ("train", "val"):
        coco = COCO(str(made / f"coco-{split}.json"))
        assert {c["name"] for c in coco.cats.values()} == set(DEVICES)
        for each in coco.anns.values():
            record = records[each["image_id"]]
            mask = coco.annToMask(each)
            assert mask.shape == (SIDE, SIDE) and mask.sum() == each["area"]
            assert coco_mask.toBbox(each["segmentation"]).tolist() == each["bbox"]
            if each["polygons"]:
                drawn = coco_mask.merge(coco_mask.frPyObjects(each["polygons"], SIDE, SIDE))
                overlap = coco_mask.iou([drawn], [each["segmentation"]], [0])[0, 0]
                assert overlap >= 0.99
            assert record["file"] == coco.imgs[each["image_id"]]["file_name"]
            seen += 1
    assert seen == sum(len(r["instances"]) for r in records.values()) > VIEWS


def test_mask_files_agree_with_run_lengths(made):
    """The last device lies on top; no pixel belongs to none of those that are there."""
    for record in read_records(made):
        numbers = cv2.imread(str(made / record["mask"]), cv2.IMREAD_UNCHANGED)
        expected = np.zeros_like(numbers)
        for i, each in enumerate(record["instances"], 1):
            runs = each["run_lengths"]
            mask = coco_mask.decode({**runs, "counts": runs["counts"].encode()}).astype(bool)
            expected[mask] = i
        assert np.array_equal(numbers, expected)


def test_yolo_reads_it(made):
    """As its loader does: data.yaml, lists of images, a label file beside each, shares of sides."""
    data = yaml.safe_load((made / "data.yaml").read_text())
    assert list(data["names"].values()) == list(DEVICES)
    for split in ("train", "val"):
        for line in (made / data[split]).read_text().split():
            image = made / line
            assert cv2.imread(str(image)).dtype == np.uint8
            label = str(image).replace("/images/", "/labels/").replace(".png", ".txt")
            for row in Path(label).read_text().splitlines():
                kind, *places = row.split()
                u, v = np.array(places, float).reshape(-1, 2).T
                assert int(kind) < len(DEVICES) and len(u) >= 4
                assert min(u.min(), v.min()) >= 0.0 and max(u.max(), v.max()) <= 1.0


def test_sequences_have_flow(tmp_path):
    """Frames in order, in COCO and in shards, with a flow that reads as it was."""
    folder = write_dataset(order(2, sequences=2, frames=3), tmp_path / "moving", workers=2)
    records = [r for r in read_records(folder) if r["flow"]]
    assert [r["about"]["frame"] for r in records] == [0, 1, 2, 0, 1, 2]
    assert [r["id"] % 10_000 for r in records] == [0, 1, 2, 0, 1, 2]
    flows = [read_flow(folder, r) for r in records]
    assert all(flow.shape == (SIDE, SIDE, 2) for flow in flows)
    assert not flows[2].any(), "nothing follows the last frame"
    images = json.loads((folder / "coco-train.json").read_text())["images"]
    assert sum("flow_file" in image for image in images) == 6
    with pytest.raises(UserError, match="image 0 has no flow"):
        read_flow(folder, read_records(folder)[0])


def test_dicom_holds_the_same_images(made, tmp_path):
    folder = write_dataset(order(2, form="dicom"), tmp_path / "dicom")
    for record, same in zip(read_records(folder), read_records(made), strict=False):
        assert record["file"].endswith(".dcm")
        assert np.array_equal(read_image(folder, record), read_image(made, same))
        assert record["instances"] == same["instances"]
    assert not (folder / "data.yaml").exists()


def test_images_fill_sixteen_bits(made):
    record = read_records(made)[0]
    stored = cv2.imread(str(made / record["file"]), cv2.IMREAD_UNCHANGED)
    image = read_image(made, record)
    assert image.max() < 4096 and np.array_equal(stored, image << 4)


def test_views_are_in_one_split(made):
    views = [
        {i["view"] for i in json.loads((made / f"coco-{s}.json").read_text())["images"]}
        for s in ("train", "val")
    ]
    assert len(views[1]) == 1 and not views[0] & views[1]


def test_other_settings_and_other_folders_are_refused(made, tmp_path):
    with pytest.raises(UserError, match="another configuration or seed"):
        write_dataset(order(seed=5), made)
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="not empty and no dataset"):
        write_dataset(order(), tmp_path)
    with pytest.raises(UserError, match=r"no shards/\*.json"):
        read_records(tmp_path)


def test_full_disk_stops_cleanly_and_goes_on(made, tmp_path, monkeypatch):
    write = shards._write_png
    left = [2 * 2 * SHARD_VIEWS + 3]  # files: images and masks of the first shard, and some

    def full(path, image):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, image)

    monkeypatch.setattr(shards, "_write_png", full)
    folder = tmp_path / "full"
    with pytest.raises(UserError, match="the disk is full; 16 images are written"):
        write_dataset(order(), folder)
    monkeypatch.undo()
    assert sums(write_dataset(order(), folder)) == sums(made)


def test_too_little_room_is_said_before(tmp_path, monkeypatch):
    free = type("Usage", (), {"free": 10_000})
    monkeypatch.setattr(writing.shutil, "disk_usage", lambda _: free)
    with pytest.raises(UserError, match=r"GB are needed, 0.0 GB are free"):
        write_dataset(order(), tmp_path / "out")


def test_commands(tmp_path):
    """Write, show; the card tells what is in it."""
    out = tmp_path / "set"
    command = ["synth", "dataset", "-n", "8", "--out", str(out)]
    command += [x for change in CHANGES for x in ("--set", change)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "8 images of 96 x 96 px" in done.output and "wrote 8 images" in done.output
    card = (out / "DATASET_CARD.md").read_text()
    assert "8 images of 96 x 96 px" in card and "One patient" in card and "CC BY 3.0" in card
    metadata = json.loads((out / "croissant.json").read_text())
    for each in metadata["distribution"][:2]:
        assert hashlib.sha256((out / each["contentUrl"]).read_bytes()).hexdigest() == each["sha256"]
    shown = CliRunner().invoke(app, ["synth", "show", str(out), "-n", "4"])
    assert shown.exit_code == 0, shown.output
    assert cv2.imread(str(out / "contact-sheet.png")).shape == (320, 6 * 320, 3)
    assert (out / "distribution.png").stat().st_size > 10_000


def test_a_cluster_writes_the_same_bytes(made, tmp_path):
    """On Ray, of which a worker is killed in its first task."""
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    folder, marker = tmp_path / "ray", tmp_path / "killed"
    wanted = order()

    def deadly(each, name, out):
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return writing.make_shard(each, name, out)

    writing._open(folder, wanted)
    found = list(made_by_cluster(wanted, folder, list(wanted.shards), "local", deadly))
    assert sorted(found) == sorted(wanted.shards)
    assert marker.exists()
    assert sums(write_dataset(wanted, folder, cluster="local")) == sums(made)


def test_a_cluster_that_is_not_there_is_said(tmp_path):
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    with pytest.raises(UserError, match=r"--ray 127\.0\.0\.1:1: cannot be reached"):
        write_dataset(order(), tmp_path, cluster="127.0.0.1:1")

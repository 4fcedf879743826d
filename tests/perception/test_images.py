"""Images that users have, and the command that runs the detector on them."""

import json

import av
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from mmdtwin.cli.app import app
from mmdtwin.errors import UserError
from mmdtwin.perception import Detector
from mmdtwin.perception.images import find_images, read_pictures, turned_over
from mmdtwin.perception.learned.polarity import looks_inverted


def scene(seed=0, level=800):
    """An image with a disc of a device at (140, 91)."""
    image = np.random.default_rng(seed).poisson(level, (256, 256)).astype(float)
    v, u = np.indices(image.shape)
    image[np.hypot(u - 140, v - 91) <= 7] *= 0.75
    return np.rint(image).astype(np.uint16)


def test_stills_and_videos_are_read(tmp_path):
    cv2.imwrite(str(tmp_path / "b.png"), scene())
    cv2.imwrite(str(tmp_path / "a.tiff"), scene(1))
    with av.open(str(tmp_path / "c.avi"), "w") as video:
        stream = video.add_stream("mpeg4", rate=15)
        stream.width = stream.height = 64
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64), np.uint8), format="gray")
            video.mux(stream.encode(frame))
        video.mux(stream.encode())
    files = find_images(tmp_path)
    assert [path.name for path in files] == ["a.tiff", "b.png", "c.avi"]
    names = [picture.name for path in files for picture in read_pictures(path)]
    assert names == ["a.tiff", "b.png", "c.avi", "c.avi#1", "c.avi#2"]
    assert np.array_equal(next(read_pictures(tmp_path / "b.png")).image, scene())


@pytest.mark.parametrize("name", ["broken.png", "broken.dcm", "broken.avi"])
def test_files_that_cannot_be_read_say_so(tmp_path, name):
    (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(UserError, match=f"{name}: cannot be read"):
        list(read_pictures(tmp_path / name))


def test_places_without_images_say_so(tmp_path):
    with pytest.raises(UserError, match="holds no images"):
        find_images(tmp_path)
    with pytest.raises(UserError, match="is not there"):
        find_images(tmp_path / "none")


def test_inverted_images_are_noticed():
    detector, images = Detector.load(), [scene(i) for i in range(4)]
    assert not looks_inverted(detector, images)
    assert looks_inverted(detector, [turned_over(image) for image in images])
    assert not looks_inverted(detector, [np.full((64, 64), 7, np.uint8)])


def test_command_finds_devices_and_scores_them(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(4):
        cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), turned_over(scene(i)))
    v, u = np.indices((256, 256))
    inside = np.hypot(u - 140, v - 91) <= 7
    rows, columns = np.nonzero(inside)
    box = [int(columns.min()), int(rows.min()), 15, 15]
    corners = [box[0], box[1], box[0] + 15, box[1], box[0] + 15, box[1] + 15, box[0], box[1] + 15]
    truth = {
        "images": [
            {"id": i, "file_name": f"images/{i}.png", "height": 256, "width": 256} for i in range(4)
        ],
        "annotations": [
            {"id": i + 1, "image_id": i, "category_id": 7, "bbox": box, "area": 149,
             "centroid": [140.5, 91.5], "segmentation": [corners], "d_prime": 100.0}
            for i in range(4)
        ],
        "categories": [{"id": 7, "name": "bead"}],
    }  # fmt: skip
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    out, figures = tmp_path / "found.json", tmp_path / "figures.json"
    command = ["eval", "detector", "--images", str(tmp_path / "images")]
    command += ["--truth", str(tmp_path / "truth.json")]
    command += ["--predictions-out", str(out), "--json", str(figures)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "4 images are inverted" in done.output
    results = json.loads(out.read_text())
    threshold = json.loads(figures.read_text())["threshold"]
    assert results and all(each["score"] >= threshold for each in results)
    best = max(results, key=lambda each: each["score"])
    assert best["category_id"] == 7
    assert np.hypot(best["centroid"][0] - 140.5, best["centroid"][1] - 91.5) < 1.5
    everything = CliRunner().invoke(app, [*command, "--all-scores"])
    assert everything.exit_code == 0
    assert len(json.loads(out.read_text())) > len(results)
    kept = CliRunner().invoke(app, [*command, "--polarity", "dark"])
    assert "are inverted" not in kept.output


def test_command_needs_something_to_score(tmp_path):
    refused = CliRunner().invoke(app, ["eval", "detector", "--images", str(tmp_path)])
    assert isinstance(refused.exception, UserError)
    refused = CliRunner().invoke(app, ["eval", "detector", "--truth", str(tmp_path)])
    assert "give --images or --predictions" in str(refused.exception)

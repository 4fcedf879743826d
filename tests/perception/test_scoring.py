"""Scores of predictions: of perfect ones, of none, of shifted ones, and what is refused."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from typer.testing import CliRunner

from mmdtwin.cli.app import app
from mmdtwin.errors import UserError
from mmdtwin.perception.scoring.match import match
from mmdtwin.perception.scoring.scores import Share, ideal_recall, scores

SIDE = 64


def labels(count=40, seed=0):
    """One square device in each of `count` images, and one image without."""
    rng = np.random.default_rng(seed)
    annotations = []
    for i in range(count):
        u, v = rng.integers(8, 48, 2).tolist()
        mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
        mask[v : v + 6, u : u + 6] = 1
        runs = coco_mask.encode(mask)
        annotations.append(
            {
                "id": i + 1, "image_id": i, "category_id": 1, "bbox": [u, v, 6, 6], "area": 36,
                "centroid": [u + 3.0, v + 3.0], "d_prime": float(i % 20), "size": 1e-3,
                "segmentation": {"size": [SIDE, SIDE], "counts": runs["counts"].decode()},
            }
        )  # fmt: skip
    images = [{"id": i, "height": SIDE, "width": SIDE} for i in range(count + 1)]
    return {"images": images, "annotations": annotations}


def results(truth, shift=(0.0, 0.0), score=0.9):
    found = []
    for each in truth["annotations"]:
        u, v, w, h = each["bbox"]
        polygon = [u, v, u + w, v, u + w, v + h, u, v + h]
        found.append(
            {
                "image_id": each["image_id"], "category_id": 1, "score": score,
                "bbox": [u + shift[0], v + shift[1], w, h], "segmentation": [polygon],
            }
        )  # fmt: skip
    return found


def test_perfect_predictions():
    truth = labels()
    found = scores(match(truth, results(truth)))
    assert found["recall"]["1 px"]["value"] == found["precision"]["1 px"]["value"] == 1.0
    assert found["average_precision"] == pytest.approx(1.0)
    assert found["mask_iou"] == pytest.approx(1.0) and found["centroid_rmse_px"] == 0.0
    assert found["false_alarms_per_frame"] == 0.0


def test_nothing_predicted():
    found = scores(match(labels(), []))
    assert found["recall"]["5 px"]["value"] == found["average_precision"] == 0.0
    assert found["centroid_rmse_px"] is None and found["precision"]["2 px"]["value"] is None
    json.dumps(found, allow_nan=False)


def test_shifted_predictions_count_by_radius():
    truth = labels()
    found = scores(match(truth, results(truth, (1.1, 1.5))))
    recall = {radius: share["value"] for radius, share in found["recall"].items()}
    assert recall == {"1 px": 0.0, "2 px": 1.0, "5 px": 1.0}
    assert found["centroid_rmse_px"] == pytest.approx(np.hypot(1.1, 1.5))


def test_alarms_are_counted_and_lower_average_precision():
    """A stronger alarm in every image: precision is 1/2 at every recall."""
    truth = labels()
    alarms = [{"image_id": i["id"], "score": 0.95, "bbox": [0, 0, 1, 1]} for i in truth["images"]]
    found = scores(match(truth, results(truth) + alarms[:40]))
    assert found["false_alarms_per_frame"] == pytest.approx(40 / 41)
    assert found["precision"]["2 px"]["value"] == 0.5
    assert found["average_precision"] == pytest.approx(0.5, abs=0.01)


def test_one_prediction_finds_one_device():
    truth = labels(1)
    again = results(truth) * 2
    found = match(truth, again)
    assert len(found.alarms) == 1 and found.pairs[0].prediction is not None


def two_devices():
    truth = labels(1)
    other = {**truth["annotations"][0], "id": 2, "centroid": [50.0, 30.0]}
    truth["annotations"][0]["centroid"] = [30.0, 30.0]
    return {**truth, "annotations": [truth["annotations"][0], other]}


def find(u, score):
    return {"image_id": 0, "score": score, "bbox": [u - 3, 27, 6, 6]}


def test_a_weak_alarm_takes_nothing_from_a_find():
    found = scores(match(two_devices(), [find(30, 0.99), find(10, 0.01)]))
    assert found["recall"]["1 px"]["value"] == 0.5
    assert found["false_alarms_per_frame"] == 0.5


def test_the_best_find_is_the_one_that_counts():
    found = match(two_devices(), [find(30, 0.1), find(31.5, 0.9)])
    assert found.pairs[0].distance == 1.5
    assert [each["score"] for each in found.alarms] == [0.1]


def test_equal_scores_pass_together():
    """As many alarms as finds, all of one score: precision is 1/2, in whatever order they come."""
    truth = labels()
    alarms = [{"image_id": i["id"], "score": 0.9, "bbox": [0, 0, 1, 1]} for i in truth["images"]]
    for given in (results(truth) + alarms[:40], alarms[:40] + results(truth)):
        assert scores(match(truth, given))["average_precision"] == pytest.approx(0.5, abs=0.01)


def test_by_cell_and_by_visibility():
    truth = labels()
    seen = [r for r in results(truth) if truth["annotations"][r["image_id"]]["d_prime"] >= 10]
    found = scores(match(truth, seen), {"size": [0.5e-3, 2e-3, 5e-3]})
    by = {tuple(row["d_prime"]): row["recall"]["2 px"] for row in found["by_d_prime"]}
    assert by[10.0, 15.0]["value"] == 1.0 and by[4.5, 7.0]["value"] == 0.0
    assert [row["recall"]["2 px"]["count"] for row in found["cells"]] == [40, 0]


def test_wilsons_interval():
    """8 of 10: .490 to .943 (Wilson 1927 by any table of it)."""
    share = Share.of(np.array([True] * 8 + [False] * 2))
    assert (share.low, share.high) == pytest.approx((0.490, 0.943), abs=1e-3)


def test_ideal_observer_finds_half_at_about_four_and_a_half():
    assert ideal_recall(np.array([4.42]))[0] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 999}, "of image 999, which the truth has not"),
        ({"image_id": None}, "of image None"),
        ({"bbox": None}, "neither bbox nor centroid"),
        ({"bbox": [1, 2]}, "are no numbers"),
        ({"score": "high"}, "are no numbers"),
        ({"score": float("nan")}, "are no numbers"),
        ({"bbox": 5}, "bbox 5 are no numbers"),
        ({"centroid": [1.0]}, "centroid .* are no numbers"),
        ({"image_id": [0]}, "which the truth has not"),
        ({"segmentation": [[1, 2]]}, "none of COCO's"),
        ({"segmentation": "x"}, "none of COCO's"),
        ({"segmentation": {"size": [9, 9], "counts": "11"}}, "not .64, 64. px"),
    ],
)
def test_bad_predictions_are_refused(change, message):
    truth = labels(2)
    given = results(truth)
    given[1] |= change
    with pytest.raises(UserError, match=message):
        match(truth, given)


def test_command(tmp_path):
    truth = labels()
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(results(truth)))
    command = ["eval", "detector", "--truth", str(tmp_path / "truth.json"), "--predictions"]
    out = tmp_path / "scores.json"
    done = CliRunner().invoke(app, [*command, str(tmp_path / "found.json"), "--json", str(out)])
    assert done.exit_code == 0, done.output
    assert "40 devices in 41 images; 0.000 false alarms a frame" in done.output
    assert json.loads(out.read_text())["recall"]["1 px"]["count"] == 40
    (tmp_path / "bad.json").write_text("{}")
    refused = CliRunner().invoke(app, [*command, str(tmp_path / "bad.json")])
    assert isinstance(refused.exception, UserError)
    assert "must be a list of COCO results" in str(refused.exception)

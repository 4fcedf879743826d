"""The fixed test is what ships, and readers' marks are scored as any predictions."""

import gzip
import json
from itertools import islice

import numpy as np
import pytest
from typer.testing import CliRunner

from mmdtwin.cli.app import app
from mmdtwin.config import parse, read
from mmdtwin.config.randomisation import RandomisationConfig
from mmdtwin.errors import UserError
from mmdtwin.synth.background.bank import SHIPPED, Bank, shipped_bank
from mmdtwin.synth.compositor.compositor import Compositor
from mmdtwin.synth.dataset import benchmark
from mmdtwin.synth.dataset.benchmark import BENCHMARKS, FRAMES, IMAGES, SEQUENCES, order
from mmdtwin.synth.dataset.reader_study import write_study
from mmdtwin.synth.dataset.shards import read_records
from mmdtwin.synth.dataset.write import FIRST_SEQUENCE, SEQUENCE_ROOM, Order, write_dataset

NAME = BENCHMARKS[0]


@pytest.fixture(scope="module")
def shipped():
    """Hashes of labels, and means, of every image."""
    with np.load(benchmark.shipped(NAME) / benchmark.MEANS) as data:
        found = zip(data["ids"].tolist(), data["labels"], data["means"], strict=True)
        return {number: (label, mean.astype(float)) for number, label, mean in found}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A dataset in the manner of the benchmark."""
    data = read("randomisation", NAME)[0] | {"size": 96, "images_per_background": 2}
    config = parse(RandomisationConfig, data, "test")
    return write_dataset(Order(config, 12, 3), tmp_path_factory.mktemp("small") / "dataset")


def composites():
    """Images of a late view, and of a sequence, each with its number."""
    wanted = order(NAME)
    compositor = Compositor(wanted.config, wanted.seed)
    per_view = wanted.config.images_per_background
    for i, composite in enumerate(compositor.view(301)):
        yield 301 * per_view + i, composite
    for i, (composite, _) in enumerate(islice(compositor.sequence(7, FRAMES), 3)):
        yield FIRST_SEQUENCE + 7 * SEQUENCE_ROOM + i, composite


def test_images_and_labels_are_those_that_ship(shipped):
    assert len(shipped) == IMAGES + SEQUENCES * FRAMES
    for number, composite in composites():
        projection = composite.view.imager.projection
        instances = [each.record(projection) for each in composite.instances]
        labels, means = shipped[number]
        assert benchmark.label_sum({"instances": instances}) == labels, number
        off = np.abs(benchmark.means(composite.image) - means / benchmark.STEPS)
        assert off.max() <= benchmark.TOLERANCE, number


def test_shipped_labels_are_of_the_shipped_hashes(shipped):
    truth = benchmark.labels(NAME)
    assert {image["id"] for image in truth["images"]} == set(shipped)
    names = {each["id"]: each["name"] for each in truth["categories"]}
    found = {number: [] for number in shipped}
    for each in truth["annotations"]:
        kind = names[each["category_id"]]
        instance = {"kind": kind, "bbox": each["bbox"], "run_lengths": each["segmentation"]}
        found[each["image_id"]].append(instance)
    for number, instances in found.items():
        assert benchmark.label_sum({"instances": instances}) == shipped[number][0], number


def test_a_third_of_the_images_each_is_at_low_common_and_high_dose():
    """Frames of sequences besides; what arrives differs a little with the device."""
    doses = [i["dose"] for i in benchmark.labels(NAME)["images"] if i["id"] < FIRST_SEQUENCE]
    edges = order(NAME).config.cells.dose
    shares = np.histogram(doses, np.array(edges) * [0.98, 1, 1, 1.02])[0] / len(doses)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.02)


def test_every_cell_has_devices():
    cells, truth = order(NAME).config.cells, benchmark.labels(NAME)
    facts = "contrast_object", "size", "occluded"
    values = np.array([[a[name] for name in facts] for a in truth["annotations"]])
    edges = [cells.contrast, cells.size, (*cells.occluded[:-1], 1.001)]
    counts, _ = np.histogramdd(values, edges)
    assert counts.min() >= 50


def test_backgrounds_are_of_what_nothing_is_trained_on():
    """Anatomy of the CT is its test slab's; the rest is drawn from seeds of its own."""
    bank = Bank(shipped_bank(SHIPPED[1]))
    sources = [record["source"].split(" ")[0] for record in bank.records]
    assert sources.count("ct-slab") == 32
    assert set(sources) == {"ct-slab", "limb", "tank"}
    names = {i["background_name"] for i in benchmark.labels(NAME)["images"]}
    assert len(names) > 40


def test_what_differs_is_named(small, tmp_path, monkeypatch):
    """A reference of a small dataset, then a pixel and a label of it changed."""
    monkeypatch.setattr(benchmark, "shipped", lambda _: tmp_path / NAME)
    benchmark.write_reference(NAME, small)
    same = benchmark.compare(NAME, small)
    assert same.same and same.images == 12
    with np.load(tmp_path / NAME / benchmark.MEANS) as data:
        changed = dict(data)
    changed["means"][3, 1, 1] += 2 * benchmark.STEPS
    changed["labels"][5] = "x"
    np.savez(tmp_path / NAME / benchmark.MEANS, **changed)
    found = benchmark.compare(NAME, small)
    assert (found.pixels, found.labels) == ([3], [5])
    assert 1.9 < found.worst < 2.1
    changed["ids"] = changed["ids"][:-1]
    np.savez(tmp_path / NAME / benchmark.MEANS, **changed)
    with pytest.raises(UserError, match="image 11 is not of"):
        benchmark.compare(NAME, small)


def test_unknown_benchmark_is_refused():
    with pytest.raises(UserError, match="allowed: mmd-xray-v1"):
        order("mmd-xray-v0")


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_perfect_predictions_of_any_tool_are_scored_as_such(tmp_path):
    """From the file that ships, not through this project's code."""
    path = benchmark.shipped(NAME) / benchmark.LABELS
    truth = json.loads(gzip.decompress(path.read_bytes()))
    perfect = [
        {"image_id": a["image_id"], "category_id": a["category_id"], "score": 1.0,
         "bbox": a["bbox"], "segmentation": a["segmentation"], "centroid": a["centroid"]}
        for a in truth["annotations"]
    ]  # fmt: skip
    (tmp_path / "p.json").write_text(json.dumps(perfect))
    out = tmp_path / "scores.json"
    result = run(
        "eval", "detector", "--benchmark", NAME, "--predictions", tmp_path / "p.json",
        "--json", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    scores = json.loads(out.read_text())
    assert scores["recall"]["1 px"]["value"] == 1.0
    assert scores["mask_iou"] == pytest.approx(1.0)
    assert scores["false_alarms_per_frame"] == 0.0
    assert len(scores["cells"]) == 18
    ideal = [row["ideal_recall"] for row in scores["by_d_prime"]]
    assert ideal == sorted(ideal)


def test_truth_or_benchmark_must_be_named(tmp_path):
    (tmp_path / "p.json").write_text("[]")
    result = run("eval", "detector", "--predictions", tmp_path / "p.json")
    assert isinstance(result.exception, UserError)


def test_marks_of_readers_are_scored(small, tmp_path):
    """Marks as the page saves them, a pixel off each device."""
    count = write_study(small, tmp_path / "study", 10, seed=1)
    assert count == 10
    study = tmp_path / "study"
    truth, key = (json.loads((study / name).read_text()) for name in ("labels.json", "key.json"))
    page = (study / "reader" / "index.html").read_text()
    assert '{"id": 10, "file": "images/0010.png"}' in page
    assert len(list((study / "reader" / "images").iterdir())) == 10
    known = {record["id"]: len(record["instances"]) for record in read_records(small)}
    devices = {int(number): known[i] for number, i in key.items()}
    for number, wanted in devices.items():
        assert sum(a["image_id"] == number for a in truth["annotations"]) == wanted
    assert list(key.values()) != sorted(key.values())
    marks = [
        {"image_id": a["image_id"], "category_id": 1, "score": 0.6, "seconds": 2.0,
         "centroid": [a["centroid"][0] + 1.0, a["centroid"][1]]}
        for a in truth["annotations"]
    ]  # fmt: skip
    (tmp_path / "marks.json").write_text(json.dumps(marks))
    out = tmp_path / "scores.json"
    files = study / "labels.json", tmp_path / "marks.json", out
    result = run(
        "eval", "detector", "--truth", files[0], "--predictions", files[1], "--json", files[2]
    )
    assert result.exit_code == 0, result.output
    scores = json.loads(out.read_text())
    assert scores["centroid_rmse_px"] == pytest.approx(1.0)
    assert scores["recall"]["2 px"]["value"] == 1.0


def test_study_keeps_what_is_not_its_own(small, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty and no reader study"):
        write_study(small, tmp_path, 4)
    with pytest.raises(UserError, match="no shards"):
        write_study(tmp_path / "nothing", tmp_path / "out", 4)


def test_contrasts_are_those_asked_for():
    """Of the frames of a sequence the first is asked for: a device keeps its material."""
    asked, had, later = [], [], 0
    for each in benchmark.labels(NAME)["annotations"]:
        number = each["image_id"]
        if number >= FIRST_SEQUENCE and number % SEQUENCE_ROOM:
            assert each["contrast"] is None
            later += 1
            continue
        asked.append(each["contrast"])
        had.append(each["contrast_object"])
    off = np.abs(np.array(had) / asked - 1.0)
    assert later > 500 and len(asked) > 2000
    assert np.mean(off < 0.1) >= 0.95

"""Configuration errors: one line that names file, key and what is allowed."""

import pytest
import yaml

from mmdtwin.config import KINDS, CoilsConfig, load_scenario, names, override, parse, read
from mmdtwin.errors import ConfigError, UserError
from mmdtwin.files import digest

DEFAULT = "soft-sheet-bifurcation"


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("scenario", names("scenarios"))
def test_every_shipped_scenario_resolves(scenario):
    config = load_scenario(scenario)
    assert (config.coils is None) == (config.magnet is not None)
    config.limits()
    assert len(config.hash) == 16


@pytest.mark.parametrize("kind", [k for k in KINDS if names(k)])
def test_every_preset_says_where_it_comes_from(kind):
    for name in names(kind):
        data, where = read(kind, name)
        about = data.get("source") or data.get("description") or data["vessel"]["source"]
        assert len(about) > 5, where


def test_unknown_scenario_lists_what_is_known():
    with pytest.raises(ConfigError) as error:
        load_scenario("no-such")
    assert DEFAULT in one_line(error)


def test_missing_file_is_named():
    with pytest.raises(ConfigError) as error:
        load_scenario("nowhere/at-all.yaml")
    assert "nowhere/at-all.yaml" in one_line(error)


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("coils.max_current=0", ("coils.max_current", "greater than 0", "got 0")),
        ("coils.max_current=.nan", ("max_current", "finite")),
        ("device.lenght=1", ("lenght", "unknown key", "length")),
        ("device.links=many", ("device.links", "integer", "many")),
        ("imager.detector.bits=99", ("imager.detector.bits", "16")),
        ("task.timeout=-1", ("task.timeout", "greater than 0")),
        ("nonsense=1", ("nonsense", "unknown key", "coils")),
        ("phantom.vessel.colour=red", ("phantom.vessel.colour: unknown key", "branches, kind")),
        ("phantom.vessel.kind=cube", ("phantom.vessel: ", "'procedural', 'random', 'ct', 'mesh'")),
        ("task.timeout", ("--set", "key=value")),
        ("task.timeout.x=1", ("--set", "holds a value")),
    ],
)
def test_bad_values_name_key_and_what_is_allowed(assignment, words):
    with pytest.raises(ConfigError) as error:
        load_scenario(DEFAULT, [assignment])
    text = one_line(error)
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"magnet": "cube-30mm"}, "either coils or a magnet"),
        ({"coils": None}, "either coils or a magnet"),
        ({"coils": None, "magnet": "cube-30mm"}, "needs an arm"),
        ({"coils": None, "magnet": "cube-30mm", "arm": "franka-fr3"}, "kind twin-magnet .got twin"),
        ({"rig": "twin-magnet"}, "coils needs a rig of kind twin"),
    ],
)
def test_the_actuator_must_be_whole_and_fit_the_rig(tmp_path, change, message):
    data, _ = read("scenarios", DEFAULT)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**data, **change}))
    with pytest.raises(ConfigError, match=message) as error:
        load_scenario(path)
    one_line(error)


def test_a_retreat_pose_out_of_reach_is_refused():
    far = load_scenario("soft-sheet-magnet", ["rig.retreat.position=[2, 0, 0.3]"])
    with pytest.raises(UserError, match="T_world_retreat: out of the arm's reach"):
        far.limits()


def test_faults_of_coils_name_the_coil_and_its_keys():
    data, _ = read("coils", "octomag-like")
    wrong = {**data, "coils": [data["coils"][0], {**data["coils"][1], "lenght": 0.1}]}
    with pytest.raises(ConfigError) as error:
        parse(CoilsConfig, wrong, "mine.yaml")
    assert one_line(error).startswith("mine.yaml: coils.1.lenght: unknown key; allowed: axis, core")
    assert "inner_radius" in one_line(error)
    assert "straight" not in one_line(error)  # a racetrack's


def test_errors_in_a_file_name_the_file(tmp_path):
    path = tmp_path / "mine.yaml"
    data, _ = read("scenarios", DEFAULT)
    path.write_text(yaml.safe_dump({**data, "colour": "blue"}))
    with pytest.raises(ConfigError) as error:
        load_scenario(path)
    assert "mine.yaml" in one_line(error)
    assert "colour" in one_line(error)
    path.write_text("a: [1, 2")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_scenario(path)
    path.write_text("- 1")
    with pytest.raises(ConfigError, match="mapping"):
        load_scenario(path)


def test_errors_in_a_part_name_the_part_by_its_own_file(tmp_path):
    device, _ = read("devices", "soft-sheet")
    path = tmp_path / "device.yaml"
    path.write_text(yaml.safe_dump({**device, "width": -1}))
    with pytest.raises(ConfigError) as error:
        load_scenario(DEFAULT, device=str(path))
    assert "device.yaml" in one_line(error)
    assert "width" in one_line(error)


def test_overrides_do_not_change_their_input_and_reach_the_hash():
    data = {"a": {"b": 1}, "c": 2}
    assert override(data, ["a.b=5", "a.d=[1, 2]"]) == {"a": {"b": 5, "d": [1, 2]}, "c": 2}
    assert data == {"a": {"b": 1}, "c": 2}
    assert load_scenario(DEFAULT).hash == load_scenario(DEFAULT).hash
    assert load_scenario(DEFAULT).hash != load_scenario(DEFAULT, ["task.timeout=59"]).hash


def test_digest_does_not_depend_on_key_order():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "noise.yaml"
    path.write_bytes(bytes(range(128, 256)))
    with pytest.raises(ConfigError, match="cannot be read as text"):
        load_scenario(path)


def test_parts_lie_beside_the_scenario_that_names_them(tmp_path, monkeypatch):
    data, _ = read("scenarios", "soft-sheet-bifurcation")
    device, _ = read("devices", "soft-sheet")
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices/mine.yaml").write_text(yaml.safe_dump({**device, "links": 12}))
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**data, "device": "devices/mine.yaml"}))
    monkeypatch.chdir("/")
    assert load_scenario(tmp_path / "mine.yaml").device.links == 12
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**data, "device": "devices/no.yaml"}))
    with pytest.raises(ConfigError, match=r"mine\.yaml: device: devices/no\.yaml: no such file"):
        load_scenario(tmp_path / "mine.yaml")

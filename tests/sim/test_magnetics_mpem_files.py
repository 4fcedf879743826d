"""Import of MPEM files and nodes: layouts that occur, and faults, named on one line."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from mmdtwin.errors import ConfigError, UserError
from mmdtwin.sim.magnetics.calibration.mpem import errors_at, read_mpem, read_nodes

FILE = Path(__file__).parents[1] / "data" / "octomag" / "mpem_calibration.yaml"


SOURCE = {
    "A_Coeff": None,
    "B_Coeff": [1e-6],
    "Source_Direction": [0, 0, 2],
    "Source_Position": [0, 0, -0.1],
}


def system(**source):
    coil = {"Source_List": ["Src_0"], "Src_0": SOURCE | source}
    return {
        "System_Name": "two",
        "Workspace_Dimensions": [[-0.01, 0.01]] * 3,
        "Coil_List": ["Coil_0", "Coil_1"],
        "Coil_0": coil,
        "Coil_1": {"Source_List": ["Src_0"], "Src_0": SOURCE},
    }


def written(tmp_path, data):
    path = tmp_path / "system.yaml"
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data))
    return path


def test_layouts_of_other_files(tmp_path):
    """Numbers in lists of their own, exponents without a point, axes of any length, notes."""
    path = written(
        tmp_path,
        """
        Note: {by: somebody}
        Workspace_Dimensions: [[-0.01, 0.01], [-0.01, 0.01], [-0.01, 0.01]]
        Coil_List: [Coil_1, Offset]
        Coil_1:
          Source_List: [Src_1]
          Src_1:
            A_Coeff: []
            B_Coeff: [[2e-6], [1e-8]]
            Source_Position: [[0], [0], [-1e-1]]
            Source_Direction: [[0], [0], [3]]
        Offset:
          Source_List: [Src_1]
          Src_1:
            {A_Coeff: [5e-5], B_Coeff: ~, Source_Position: [0, 0, 0], Source_Direction: [1, 0, 0]}
        """,
    )
    imported = read_mpem(path)
    assert (imported.name, imported.coil_names) == ("system", ["Coil_1"])
    on_axis = imported.model.unit_field([[0.0, 0.0, 0.0]])[0, 0]
    assert np.allclose(on_axis, [0, 0, 2 * 2e-6 / 1e-3 + 3 * 1e-8 / 1e-4], rtol=1e-12)
    field, _ = imported.background.fields(np.zeros((1, 3)))
    assert np.allclose(field, [-5e-5, 0, 0])


def without(key):
    data = system()
    del data["Coil_0"]["Src_0"][key]
    return data


FAULTS = {
    "empty": ("", "expected a mapping of keys to values; give an MPEM"),
    "not a mapping": ("- 1\n- 2\n", "expected a mapping of keys to values"),
    "not YAML": ("Coil_List: [", "not valid YAML"),
    "another file": ("a: 1\n", "Coil_List is missing"),
    "no coils": (system() | {"Coil_List": []}, "Coil_List: expected a list"),
    "missing coil": (system() | {"Coil_List": ["Coil_0", "Coil_7"]}, "Coil_7 is in Coil_List"),
    "unlisted coil": (system() | {"Coil_List": ["Coil_0"]}, "Coil_1 has sources, but is not in"),
    "coil twice": (system() | {"Coil_List": ["Coil_0", "Coil_0"]}, "Coil_0 is listed twice"),
    "missing source": (
        system() | {"Coil_1": {"Source_List": ["Src_0", "Src_1"], "Src_0": SOURCE}},
        "Coil_1: Src_1 is in Source_List",
    ),
    "unlisted source": (
        system() | {"Coil_1": {"Source_List": ["Src_0"], "Src_0": SOURCE, "Src_1": SOURCE}},
        "Coil_1: Src_1: unknown key",
    ),
    "no sources": (system() | {"Coil_1": {"Source_List": []}}, "Coil_1: Source_List: expected"),
    "missing A": (without("A_Coeff"), "Coil_0: Src_0: A_Coeff is missing; write ~"),
    "missing B": (without("B_Coeff"), "Coil_0: Src_0: B_Coeff is missing; write ~"),
    "missing axis": (without("Source_Direction"), "Src_0: Source_Direction is missing"),
    "misspelt": (system(B_coeff=[1.0]), "Coil_0: Src_0: B_coeff: unknown key; allowed: A_Coeff"),
    "no coefficients": (system(B_Coeff=[]), "Coil_0: Src_0: A_Coeff and B_Coeff: no coefficient"),
    "a number": (system(B_Coeff=1.0), "Coil_0: Src_0: B_Coeff: expected a list"),
    "words": (system(B_Coeff=["one"]), "Coil_0: Src_0: B_Coeff: expected numbers"),
    "not finite": (system(B_Coeff=[float("nan")]), "Coil_0: Src_0: B_Coeff: a value is not finite"),
    "short position": (system(Source_Position=[0, 0]), "Source_Position: 2 numbers; expected 3"),
    "no axis": (system(Source_Direction=[0, 0, 0]), "Coil_0: Src_0: Source_Direction: length 0"),
    "no workspace": (system() | {"Workspace_Dimensions": [[0, 1]]}, "three pairs"),
    "inverted workspace": (system() | {"Workspace_Dimensions": [[0.1, -0.1]] * 3}, "from < to"),
    "source in the middle": (system(Source_Position=[0, 0, 0]), "in the middle of the workspace"),
    "offset alone": (
        {"Coil_List": ["Offset"], "Offset": system()["Coil_0"]}, "an offset, but no coil"
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named_on_one_line(tmp_path, fault):
    data, message = FAULTS[fault]
    path = written(tmp_path, data)
    with pytest.raises(ConfigError) as error:
        read_mpem(path)
    assert message in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file():
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        read_mpem("nowhere.yaml")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0,0,0,0,1,1,1\n", "span no box"),
        ("0.5,0,0,0,1,1,1\n0,1,1,1,1,1,1\n", "whole numbers"),
        ("0,0,0,0,1,1,x\n", "row 1 (line 2): a value is not a finite number"),
        ("0,0,0,0,1,1\n", "line 2: 6 columns; the header has 7"),
    ],
)
def test_faults_of_nodes(tmp_path, rows, message):
    path = tmp_path / "nodes.csv"
    path.write_text("coil,x,y,z,bx,by,bz\n" + rows)
    with pytest.raises(UserError) as error:
        read_nodes(path)
    assert message in str(error.value)


def test_nodes_of_other_coils(tmp_path):
    """Nodes of one coil cannot check a calibration of eight."""
    path = tmp_path / "nodes.csv"
    path.write_text("coil,x,y,z,bx,by,bz\n0,0,0,0,1,1,1\n0,1e-3,1e-3,1e-3,1,1,1\n")
    with pytest.raises(UserError, match=r"nodes of coils \[0\]"):
        errors_at(read_mpem(FILE).model, read_nodes(path))


def test_a_source_in_the_box_of_the_nodes_is_refused():
    with pytest.raises(ConfigError, match=r"Coil_0: a source lies in the box"):
        read_mpem(FILE, (np.full(3, -0.02), np.full(3, 0.02)))

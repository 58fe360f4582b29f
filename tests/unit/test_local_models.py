from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from backend.core.errors import ConfigurationError, NotFound
from backend.core.local_models import (
    HubFile,
    LocalModel,
    PackagePart,
    is_present,
    load_catalogue,
    model_path,
)

CONFIG = Path(__file__).parents[2] / "config"


def edited(tmp_path: Path, **changes: object) -> Path:
    raw = json.loads((CONFIG / "local_models.json").read_text(encoding="utf-8"))
    raw["models"][0] |= changes
    path = tmp_path / "catalogue.json"
    path.write_text(json.dumps(raw))
    return path


def test_the_catalogue_of_the_product_is_right_and_has_its_default() -> None:
    catalogue = load_catalogue(CONFIG / "local_models.json")

    assert catalogue.find().name == catalogue.default
    assert catalogue.find().packages, "the default must be to be had without a hub"


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    catalogue = load_catalogue(CONFIG / "local_models.json")

    with pytest.raises(NotFound, match=catalogue.default):
        catalogue.find("nope")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sha256": "ABC"}, "sha256"),
        ({"file_name": "../up.gguf"}, "file_name"),
        ({"size_bytes": 5}, "size_bytes is 5"),
        ({"packages": [], "hub": None}, "needs a hub or packages"),
        ({"colour": "red"}, "colour"),
        ({"name": "renamed"}, "default"),
    ],
)
def test_a_wrong_catalogue_is_refused_with_what_is_wrong(
    tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        load_catalogue(edited(tmp_path, **changes))


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_a_catalogue_that_cannot_be_read_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "catalogue.json"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ConfigurationError, match=r"catalogue\.json"):
        load_catalogue(path)


def test_a_file_of_another_size_is_not_the_model(tmp_path: Path) -> None:
    model = load_catalogue(CONFIG / "local_models.json").find()
    assert not is_present(tmp_path, model)

    model_path(tmp_path, model).write_bytes(b"half")

    assert not is_present(tmp_path, model)


def test_the_schema_knows_the_fields_of_the_catalogue() -> None:
    schema = json.loads((CONFIG / "local_models.schema.json").read_text(encoding="utf-8"))
    entry = schema["properties"]["models"]["items"]["properties"]

    def names(kind: type[LocalModel | HubFile | PackagePart]) -> set[str]:
        return {field.name for field in fields(kind)}

    assert set(entry) == names(LocalModel)
    assert set(entry["hub"]["oneOf"][0]["properties"]) == names(HubFile)
    assert set(entry["packages"]["items"]["properties"]) == names(PackagePart)

"""The three data sets in LEAF's JSON layout, whole and broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from decentralized.data.celeba import CelebA
from decentralized.data.femnist import Femnist
from decentralized.data.shakespeare import VOCABULARY, Shakespeare
from decentralized.errors import DataCorrupt, DataMissing

Configured = Callable[..., Any]
User = tuple[list[Any], list[Any]]  # x, y


def write(folder: Path, part: str, users: dict[str, User], name: str = "all_data.json") -> Path:
    content = {
        "users": list(users),
        "num_samples": [len(y) for _, y in users.values()],
        "user_data": {user: {"x": x, "y": y} for user, (x, y) in users.items()},
    }
    return write_json(folder / part / name, content)


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def image(value: float) -> list[float]:
    return [value, *[1.0] * 783]


GOOD: dict[str, User] = {"f1": ([image(0.25), image(0.5)], [61, 0]), "f0": ([image(0.75)], [3])}


def test_femnist_and_its_users(tmp_path: Path, configured: Configured) -> None:
    folder = tmp_path / "femnist"
    write(folder, "train", GOOD)
    write(folder, "train", {"f1": ([image(0.0)], [7]), "empty": ([], [])}, name="more.json")
    write(folder, "test", {"new": ([image(1)], [5]), "f0": ([[1] * 784], [4])})  # whole numbers are fine
    data = configured(Femnist).load(tmp_path, seed=0)
    assert data.train.inputs.shape == (4, 1, 28, 28)
    assert data.train.inputs.dtype == np.float32
    assert data.train.inputs[:, 0, 0, 0].tolist() == [0.25, 0.5, 0.75, 0.0]
    assert data.train.targets.tolist() == [61, 0, 3, 7]
    assert data.train.users.tolist() == [0, 0, 1, 0]
    assert data.test.users.tolist() == [2, 1]  # "new" is in the test part alone
    assert data.facts.classes == 62


@pytest.mark.parametrize(
    ("user", "problem"),
    [
        (([image(0.5)], [62]), "labels from 62 to 62, expected 0 to 61"),
        (([image(0.5)], [-1]), "labels from -1"),
        (([image(0.5)], [1.5]), "not whole numbers"),
        (([image(0.5)], ["1"]), "not whole numbers"),
        (([image(0.5)], [True]), "not whole numbers"),
        (([image(0.5)] * 2, [[1], [1, 2]]), "not whole numbers"),
        (([image(0.5)[:-1]], [1]), "not 784 numbers"),
        (([image(0.5), [0.5]], [1, 1]), "do not all have 784 pixels"),
        (([["white"] * 784], [1]), "not 784 numbers"),
        (([image(float("nan"))], [1]), "outside 0 to 1"),
        (([image(255.0)], [1]), "outside 0 to 1"),
        (([image(0.5)], [1, 2]), "1 x and 2 y where num_samples says 2"),
    ],
)
def test_a_broken_user_is_named(tmp_path: Path, configured: Configured, user: User, problem: str) -> None:
    write(tmp_path / "femnist", "train", GOOD)
    file = write(tmp_path / "femnist", "test", {"f0": GOOD["f0"], "bad": user})
    with pytest.raises(DataCorrupt, match=problem) as caught:
        configured(Femnist).load(tmp_path, seed=0)
    assert f"{file}: user 'bad'" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([], "not a JSON object"),
        ({"users": [], "num_samples": []}, "two lists and an object"),
        ({"users": ["a"], "num_samples": [], "user_data": {}}, "1 users and 0 num_samples"),
        ({"users": ["a", "a"], "num_samples": [0, 0], "user_data": {"a": {"x": [], "y": []}}}, "named twice"),
        ({"users": ["a"], "num_samples": [1], "user_data": {}}, "user 'a': not in user_data"),
        ({"users": [["a"]], "num_samples": [1], "user_data": {}}, "not in user_data"),
        ({"users": ["a"], "num_samples": [1], "user_data": {"a": {"x": [1]}}}, "not two lists"),
        ({"users": ["a"], "num_samples": [9], "user_data": {"a": {"x": [1], "y": [1]}}}, "num_samples says 9"),
        ({"users": [], "num_samples": [], "user_data": {}}, "no samples"),
    ],
)
def test_a_broken_layout_is_named(tmp_path: Path, configured: Configured, content: object, problem: str) -> None:
    file = write_json(tmp_path / "femnist" / "train" / "data.json", content)
    with pytest.raises(DataCorrupt, match=problem) as caught:
        configured(Femnist).load(tmp_path, seed=0)
    assert str(file.parent) in str(caught.value)


@pytest.mark.parametrize("content", [b'{"users": ["f0"', b"\xff\xfe\xfd", b""])
def test_a_truncated_file_is_named(tmp_path: Path, configured: Configured, content: bytes) -> None:
    write(tmp_path / "femnist", "train", GOOD).write_bytes(content)
    with pytest.raises(DataCorrupt, match=r"all_data\.json: not a whole JSON file"):
        configured(Femnist).load(tmp_path, seed=0)


@pytest.mark.parametrize(("loader", "name"), [(Femnist, "femnist"), (CelebA, "celeba"), (Shakespeare, "shakespeare")])
def test_missing_files_say_what_to_do(tmp_path: Path, configured: Configured, loader: type[Any], name: str) -> None:
    with pytest.raises(DataMissing) as caught:
        configured(loader).load(tmp_path, seed=0)
    assert str(tmp_path / name / "train") in str(caught.value)
    assert f"decentralized data fetch {name}" in caught.value.advice


def test_leafs_vocabulary() -> None:
    assert len(VOCABULARY) == len(set(VOCABULARY)) == 80
    assert list(VOCABULARY) == sorted(VOCABULARY)


def test_shakespeare_numbers_characters(tmp_path: Path, configured: Configured) -> None:
    window = "\n !}".ljust(80, "a")
    strange = "\u00e9\u20ac\ud83d\u0000~\t".ljust(80, "z")  # none of the first six is in the vocabulary
    write(tmp_path / "shakespeare", "train", {"HAMLET": ([window, strange], ["b", "\u2028"])})
    write(tmp_path / "shakespeare", "test", {"HAMLET": ([window], ["?"])})
    data = configured(Shakespeare).load(tmp_path, seed=0)
    assert data.train.inputs.dtype == data.train.targets.dtype == np.int64
    assert data.train.inputs[0, :5].tolist() == [0, 1, 2, 79, VOCABULARY.index("a")]
    assert data.train.inputs[1, :7].tolist() == [1] * 6 + [VOCABULARY.index("z")]
    assert data.train.targets.tolist() == [VOCABULARY.index("b"), 1]
    assert data.facts.vocabulary == data.facts.classes == 80


@pytest.mark.parametrize(
    ("user", "problem"),
    [((["a" * 79], ["b"]), "80 characters"), ((["a" * 80], ["bc"]), "1 character each"), (([80], ["b"]), "80 char")],
)
def test_broken_shakespeare_is_named(tmp_path: Path, configured: Configured, user: User, problem: str) -> None:
    write(tmp_path / "shakespeare", "train", {"LEAR": user})
    with pytest.raises(DataCorrupt, match=rf"all_data\.json: user 'LEAR': .*{problem}"):
        configured(Shakespeare).load(tmp_path, seed=0)


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    images = tmp_path / "celeba" / "img_align_celeba"
    images.mkdir(parents=True)
    Image.new("RGB", (178, 218), (255, 0, 0)).save(images / "red.jpg", quality=100)
    Image.new("L", (89, 109), 100).save(images / "gray.jpg")
    (images / "broken.jpg").write_bytes((images / "red.jpg").read_bytes()[:400])
    (images / "text.jpg").write_text("no image")
    write(tmp_path / "celeba", "test", {"12": (["gray.jpg"], [1])})
    return tmp_path


def test_celeba_decodes_the_images_that_are_named(faces: Path, configured: Configured) -> None:
    write(faces / "celeba", "train", {"7": (["red.jpg", "gray.jpg"], [0, 1])})
    data = configured(CelebA).load(faces, seed=0)
    assert data.train.inputs.shape == (2, 3, 84, 84)
    assert data.train.inputs.dtype == np.uint8
    assert data.train.inputs.flags.c_contiguous
    np.testing.assert_allclose(data.train.inputs[0].mean(axis=(1, 2)), [255, 0, 0], atol=3)
    np.testing.assert_allclose(data.train.inputs[1].mean(axis=(1, 2)), [100, 100, 100], atol=3)
    assert data.train.targets.tolist() == [0, 1]
    assert data.test.users.tolist() == [1]


@pytest.mark.parametrize(
    ("user", "problem"),
    [
        ((["broken.jpg"], [0]), r"broken\.jpg is not an image"),
        ((["text.jpg"], [0]), r"text\.jpg is not an image"),
        ((["../celeba/red.jpg"], [0]), "not the name of an image file"),
        (([7], [0]), "not the name of an image file"),
        ((["red.jpg"], [2]), "labels from 2"),
    ],
)
def test_broken_celeba_is_named(faces: Path, configured: Configured, user: User, problem: str) -> None:
    write(faces / "celeba", "train", {"7": user})
    with pytest.raises(DataCorrupt, match=rf"all_data\.json: user '7': .*{problem}"):
        configured(CelebA).load(faces, seed=0)


def test_a_missing_image_is_named(faces: Path, configured: Configured) -> None:
    write(faces / "celeba", "train", {"7": (["gone.jpg"], [0])})
    with pytest.raises(DataMissing, match=r"gone\.jpg"):
        configured(CelebA).load(faces, seed=0)


@pytest.mark.parametrize(
    ("loader", "settings", "train", "test", "users"),
    [
        (Femnist, {"folder": "mnist_by_writer", "classes": 10}, 4172, 484, 40),
        (Shakespeare, {}, 76_800, 9_600, 48),
        (CelebA, {}, 1362, 408, 408),
    ],
)
def test_the_real_data(
    real_data: Path,
    configured: Configured,
    loader: type[Any],
    settings: dict[str, Any],
    train: int,
    test: int,
    users: int,
) -> None:
    data = configured(loader, **settings).load(real_data, seed=0)
    assert (len(data.train), len(data.test)) == (train, test)
    assert len(data.train.inputs) == len(data.train.users) == train
    np.testing.assert_array_equal(np.unique(data.train.users), np.arange(users))
    assert data.train.targets.max() < data.facts.classes
    assert data.train.inputs.shape[1:] == data.facts.input_shape

"""`decentralized import-ini`, and INI files where other commands take a TOML file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from decentralized import config
from decentralized.build import BuiltIn
from launch.commands.run import make_plan
from launch.here import Here
from tests.unit.launch.conftest import Decentralized

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# The class "digits" is not decentralizepy's: a data set that is built in keeps these tests free of files.
INI = """\
[DATASET]
dataset_class = digits
model_class = LogisticRegression
train_dir = /data
random_seed = 7

[OPTIMIZER_PARAMS]
optimizer_class = SGD
lr = 0.1

[TRAIN_PARAMS]
rounds = 3
full_epochs = False
batch_size = 8
loss_class = CrossEntropyLoss

[COMMUNICATION]
addresses_filepath = ip.json

[SHARING]
sharing_class = Sharing
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.ini"
    path.write_text(INI)
    return path


def test_toml_is_printed_and_notices_go_to_standard_error(decentralized: Decentralized, file: Path) -> None:
    done = decentralized("import-ini", str(file))
    assert done.code == 0
    document = tomllib.loads(done.out)
    assert (document["name"], document["seed"]) == ("small", 7)
    assert all(line.startswith(f"{file}:") for line in done.err.splitlines())
    assert f"{file}:4: [DATASET] train_dir = '/data': " in done.err and "--ip-map" in done.err


def test_a_new_file_can_be_written(decentralized: Decentralized, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.toml"
    printed = decentralized("import-ini", str(file))
    done = decentralized("import-ini", str(file), "--out", str(out))
    assert (done.code, done.out, done.err) == (0, "", printed.err)
    assert out.read_text(encoding="utf-8") == printed.out
    assert config.load(out, BuiltIn()).nodes == 96


def test_no_file_is_overwritten(decentralized: Decentralized, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.toml"
    out.write_text("mine")
    done = decentralized("import-ini", str(file), "--out", str(out))
    assert done.code == 2 and "exists already" in done.err and out.read_text() == "mine"
    done = decentralized("import-ini", str(file), "--out", str(tmp_path / "none" / "x.toml"))
    assert done.code == 2 and "there is no folder" in done.err


def test_files_that_cannot_be_read(decentralized: Decentralized, file: Path, tmp_path: Path) -> None:
    absent = decentralized("import-ini", str(tmp_path / "none.ini"))
    assert absent.code == 2 and "none.ini: cannot be read" in absent.err
    file.write_bytes(b"[DATASET]\nx = \xff\n")
    assert "not UTF-8" in decentralized("import-ini", str(file)).err
    file.write_text("[DATASET]\nword\n")
    broken = decentralized("import-ini", str(file))
    assert (broken.code, broken.out) == (2, "") and f"{file}:2: not INI" in broken.err


def test_check_takes_an_ini_file(decentralized: Decentralized, file: Path) -> None:
    done = decentralized("check", str(file), "--set", "nodes=5")
    assert done.code == 0 and f"{file}: the file is fine" in done.out and "small" in done.out
    assert done.err.count(f"{file}:4: [DATASET] train_dir") == 1
    assert done.err.splitlines()[-1] == f"{file} was converted; `decentralized import-ini {file}` shows the TOML"


def test_check_and_run_refuse_what_has_no_counterpart(decentralized: Decentralized, file: Path) -> None:
    file.write_text(INI.replace("= Sharing", "= JWINS"))
    for command in ("check", "run"):
        done = decentralized(command, str(file))
        assert done.code == 2 and "unknown sharing 'JWINS'" in done.err
        assert f"`decentralized import-ini {file} --out FILE.toml`" in done.err.splitlines()[-1]
        assert done.err.count("sharing_class = JWINS: nothing here corresponds") == 1


def test_run_takes_an_ini_file(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan(file, ["nodes=5", "algorithm.name=local"], Here(), tmp_path / "runs", None)
    experiment = plan.experiment
    assert (experiment.name, experiment.nodes, experiment.algorithm.name) == ("small", 5, "local")
    assert f"{file} was converted" in capsys.readouterr().err

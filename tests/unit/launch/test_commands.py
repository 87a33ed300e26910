"""What the commands print and write, on a terminal of 80 columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from decentralized.run_directory import RunDirectory
from launch.commands.run import print_results
from tests.unit.launch.conftest import DEMO, Decentralized

COMMANDS = [
    [],
    ["run"],
    ["resume"],
    ["check"],
    ["topology"],
    ["report"],
    ["plot"],
    ["status"],
    ["import-ini"],
    ["data"],
]
COMMANDS += [["data", "list"], ["data", "fetch"], ["data", "verify"], ["data", "describe"]]


def assert_fits(text: str) -> None:
    """No line of a table is wider than the terminal, and no cell was cut."""
    assert "…" not in text
    too_long = [line for line in text.splitlines() if len(line.rstrip()) > 80 and "/" not in line]
    assert not too_long


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(decentralized: Decentralized, command: list[str]) -> None:
    for option in ("--help", "-h"):
        done = decentralized(*command, option)
        assert done.code == 0 and not done.err
        assert "Usage: decentralized" in done.out
        assert_fits(done.out)


def test_version(decentralized: Decentralized) -> None:
    done = decentralized("--version")
    assert done.code == 0 and done.out.startswith("decentralized ")


def test_data_list(decentralized: Decentralized, tmp_path: Path) -> None:
    (tmp_path / "celeba").mkdir()
    done = decentralized("data", "list", "--data", str(tmp_path))
    assert done.code == 0
    head, *_ = done.out.splitlines()
    assert head == f"data sets below {tmp_path}"
    rows = {line.split()[0]: line for line in done.out.splitlines()[3:] if line.strip()}
    assert " built in " in rows["digits"] and " no " in rows["mnist"] and " in part " in rows["celeba"]
    assert_fits(done.out)


def test_data_verify(decentralized: Decentralized, tmp_path: Path) -> None:
    assert decentralized("data", "verify", "digits").out.startswith("digits is built in")
    absent = decentralized("data", "verify", "mnist", "--data", str(tmp_path))
    assert absent.code == 3 and f"nothing at {tmp_path / 'mnist'}" in absent.err and "data fetch mnist" in absent.err
    (tmp_path / "mnist").mkdir()
    broken = decentralized("data", "verify", "mnist", "--data", str(tmp_path))
    assert broken.code == 3 and broken.err.count(": missing\n") == 4 and "data fetch mnist" in broken.err
    unknown = decentralized("data", "verify", "mnits")
    assert unknown.code == 3 and "did you mean 'mnist'?" in unknown.err


def test_data_fetch_of_what_needs_no_download(decentralized: Decentralized, tmp_path: Path) -> None:
    assert decentralized("data", "fetch", "digits").out == "digits is built in: there is nothing to fetch\n"
    by_hand = decentralized("data", "fetch", "femnist", "--data", str(tmp_path))
    assert (by_hand.code, by_hand.out) == (3, "") and "./preprocess.sh" in by_hand.err


def test_data_describe(decentralized: Decentralized, tmp_path: Path) -> None:
    picture = tmp_path / "p.svg"
    sets = ("--set", "nodes=3", "--set", "data.partition=by-class", "--set", "data.partition.classes_per_node=4")
    done = decentralized("data", "describe", DEMO, *sets, "--out", str(picture))
    assert done.code == 0 and picture.stat().st_size > 1000
    table = [line.split() for line in done.out.splitlines()]
    assert ["node", "train", "validation", "test", "classes", "users"] in table
    rows = [row for row in table if len(row) == 6 and row[0] in "012"]
    assert [row[4:] for row in rows] == [["4", "-"]] * 3
    assert f"picture {picture}" in done.out.splitlines()
    assert_fits(done.out)


def test_topology(decentralized: Decentralized, tmp_path: Path) -> None:
    picture = tmp_path / "t.png"
    done = decentralized("topology", DEMO, "--set", "nodes=3", "--out", str(picture))
    assert done.code == 0 and picture.read_bytes().startswith(b"\x89PNG")
    # The Metropolis-Hastings matrix of the triangle averages in one round: its gap is 1.
    told = {" ".join(line.split()[:-1]): line.split()[-1] for line in done.out.splitlines() if line.strip()}
    assert told["edges"] == "3" and told["neighbors of a node"] == "2" and told["diameter"] == "1"
    assert float(told["spectral gap (Metropolis-Hastings weights)"]) == 1
    assert_fits(done.out)


def test_topology_with_weights_of_its_own(decentralized: Decentralized) -> None:
    """All of the triangle in each round: alpha = 1/3 averages at once, but for the rounding of alpha."""
    matcha = ("--set", "topology={name='matcha', base={name='full'}, budget=1}", "--set", "nodes=3")
    done = decentralized("topology", DEMO, *matcha, "--set", "mixing.name=from-topology", "--rounds", "5")
    told = {" ".join(line.split()[:-1]): line.split()[-1] for line in done.out.splitlines() if line.strip()}
    assert done.code == 0 and float(told["spectral gap (its own weights)"]) > 0.9999


@pytest.mark.parametrize("mixing", ["from-topology", "metropolis-hastings"])
def test_topology_where_nothing_is_mixed(mixing: str, decentralized: Decentralized) -> None:
    settings = ("topology=epidemic", "nodes=8", "algorithm.name=local", f"mixing.name={mixing}")
    done = decentralized("topology", DEMO, *(word for setting in settings for word in ("--set", setting)))
    assert done.code == 0, done.err
    assert "spectral gap (uniform weights)" in done.out


def test_topology_of_a_graph_that_changes(decentralized: Decentralized) -> None:
    changes = ("--set", "topology=one-peer-exponential", "--set", "nodes=8")
    done = decentralized("topology", DEMO, *changes, "--set", "mixing.name=uniform", "--rounds", "12")
    assert done.code == 0 and Path("topology.png").read_bytes().startswith(b"\x89PNG")
    words = [" ".join(line.split()) for line in done.out.splitlines()]
    assert "means over rounds 1 to 12" in words and "mixing alone averages exactly in 3 rounds" in words
    assert "nodes to which a node sends 1" in words
    assert_fits(done.out)
    refused = decentralized("topology", DEMO, *changes)
    assert refused.code == 2 and "has edges that go one way only" in refused.err


def test_topology_without_data(decentralized: Decentralized) -> None:
    done = decentralized("topology", DEMO, "--set", "data.name=mnist", "--data", "nowhere")
    assert done.code == 0 and "8 bytes a parameter" in done.out
    assert_fits(done.out)


def test_topology_in_pieces(decentralized: Decentralized) -> None:
    done = decentralized("topology", DEMO, "--set", "nodes=4", "--set", "topology=isolated")
    assert done.code == 0 and Path("topology.png").is_file()
    assert "2 (of 3, 1 nodes)" in done.out and "inf rounds" in done.out
    assert "warning: the graph is in pieces" in done.out


def test_topology_that_cannot_be(decentralized: Decentralized) -> None:
    done = decentralized("topology", DEMO, "--set", "nodes=6", "--set", "topology=hypercube")
    assert done.code == 4 and done.err.startswith("error: a hypercube has 1, 2, 4, 8, ... nodes, not 6")
    assert not Path("topology.png").exists()


@pytest.mark.parametrize("command", [["topology", DEMO], ["data", "describe", DEMO]])
@pytest.mark.parametrize("out", ["picture.txt", "picture", "nowhere/picture.png"])
def test_a_picture_that_cannot_be_written(decentralized: Decentralized, command: list[str], out: str) -> None:
    done = decentralized(*command, "--out", out)
    assert done.code == 2 and done.err.startswith(f"--out {out}: ") and "check CONFIG" not in done.err


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """Two runs of two nodes."""
    paths = []
    for number in range(2):
        path = tmp_path / f"one-{number}"
        for node in range(2):
            (path / "nodes" / f"{node:04d}").mkdir(parents=True)
            records = [
                {"kind": "round", "round": 1, "time_s": 1.0, "train_loss": 2.0, "bytes_sent": 100},
                {"kind": "evaluation", "round": 1, "time_s": 1.0, "validation_accuracy": 0.25 * (1 + node)},
            ]
            lines = "".join(json.dumps(record) + "\n" for record in records)
            (path / "nodes" / f"{node:04d}" / "metrics.jsonl").write_text(lines)
        (path / "config.toml").write_text('name = "one"\nnodes = 2\n')
        paths.append(str(path))
    return paths


def test_report_of_one_run(decentralized: Decentralized, runs: list[str]) -> None:
    done = decentralized("report", runs[0])
    assert done.code == 0 and (Path(runs[0]) / "report.html").is_file()
    (row,) = [line.split() for line in done.out.splitlines() if "validation_accuracy" in line]
    assert row == ["validation_accuracy", "0.3750", "0.1250", "0.2500", "0.2500", "0.2500", "2", "1"]
    assert f"report {Path(runs[0]) / 'report.html'}" in done.out.splitlines()


def test_report_of_several_runs(decentralized: Decentralized, runs: list[str], tmp_path: Path) -> None:
    done = decentralized("report", *runs, "--out", str(tmp_path / "both"))
    assert done.code == 0
    rows = [line.split()[:2] for line in done.out.splitlines() if "validation_accuracy" in line]
    assert rows == [["1", "validation_accuracy"], ["2", "validation_accuracy"]]
    assert "run 1: one (one-0)" in done.out.splitlines() and "run 2: one (one-1)" in done.out.splitlines()


def test_report_tables_fit(decentralized: Decentralized, runs: list[str], tmp_path: Path) -> None:
    done = decentralized("report", *runs, "--out", str(tmp_path / "both"))
    table = done.out.partition("run 1:")[0]
    assert all(len(line.rstrip()) <= 80 for line in table.splitlines())
    assert "validation_accuracy" in table


def test_plot(decentralized: Decentralized, runs: list[str]) -> None:
    done = decentralized("plot", *runs, "--y", "train_loss", "--x", "bytes", "--out", "loss.pdf", "--log-y")
    assert (done.code, done.out) == (0, "plot loss.pdf\n")
    assert Path("loss.pdf").read_bytes().startswith(b"%PDF")


def test_plot_of_what_is_not_there(decentralized: Decentralized, runs: list[str], tmp_path: Path) -> None:
    metric = decentralized("plot", runs[0], "--y", "test_acuracy")
    assert metric.code == 8 and "There are: " in metric.err and "validation_accuracy" in metric.err
    folder = decentralized("plot", str(tmp_path), "--y", "train_loss")
    assert folder.code == 8 and "It holds 2 runs" in folder.err


def test_check_says_what_a_run_needs(decentralized: Decentralized) -> None:
    done = decentralized("check", DEMO, "--set", "nodes=2", "--set", "model.hidden=[10]")
    assert done.code == 0 and not done.err
    lines = done.out.splitlines()
    assert lines[0] == f"{DEMO}: the file is fine"
    assert "demo | 2 nodes | ring graph | digits, mlp | dpsgd, full sharing" in lines
    # 64 inputs, 10 hidden units, 10 classes
    assert f"parameters: {64 * 10 + 10 + 10 * 10 + 10} (3.04 kB)" in lines
    assert all(len(line) <= 80 for line in lines[1:])


def test_check_warns_of_a_graph_in_pieces(decentralized: Decentralized) -> None:
    done = decentralized("check", DEMO, "--set", "nodes=3", "--set", "topology=isolated")
    assert done.code == 0 and "warning: the graph is in 2 pieces" in done.out


@pytest.mark.parametrize("command", ["check", "run"])
def test_settings_that_change_nothing_are_named(
    command: str, decentralized: Decentralized, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch.commands.run.run_plan", lambda *arguments: None)
    common = (command, DEMO, "--set", "nodes=2", "--set", "algorithm={name='local', rounds=1}")
    warned = decentralized(*common, "--set", "mixing=uniform")
    assert warned.code == 0
    assert 'warning: [mixing] has no effect with [algorithm] name = "local"' in warned.out.splitlines()
    assert "warning" not in decentralized(*common).out


@pytest.mark.parametrize(("keys", "warns"), [("", False), (", accumulate_mixing_changes=true", True)])
def test_what_nobody_asked_for_is_not_warned_of(keys: str, warns: bool, decentralized: Decentralized) -> None:
    sharing = f"sharing={{name='top-k', alpha=0.5, accumulate=false{keys}}}"
    done = decentralized("check", DEMO, "--set", "nodes=2", "--set", sharing)
    assert ("sharing.accumulate_mixing_changes has no effect" in done.out) == warns


def test_check_with_mistakes(decentralized: Decentralized) -> None:
    done = decentralized("check", DEMO, "--set", "model.hiden=[3]")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[0] == "--set model.hiden=[3]: unknown key 'model.hiden'; did you mean 'hidden'?"


def test_what_only_the_command_line_gets_wrong(decentralized: Decentralized, tmp_path: Path) -> None:
    one = decentralized("run", DEMO, "--machine", "1")
    assert one.code == 2 and one.err == "--machine 1: it needs an --ip-map\n"
    (tmp_path / "map.json").write_text('{"0": "10.0.0.1", "1": "10.0.0.2"}')
    ip_map = ("--ip-map", str(tmp_path / "map.json"))
    two = decentralized("run", DEMO, "--machine", "2", *ip_map)
    assert two.code == 2 and two.err == "--machine 2: the IP map has machines 0 to 1\n"
    memory = decentralized("run", DEMO, "--set", "network.transport=memory", *ip_map)
    assert memory.code == 2 and memory.err.startswith('network.transport = "memory" runs in one process')
    ports = decentralized("run", DEMO, "--set", "network.ports=[5000, 5006]", *ip_map)
    assert ports.code == 2 and "[5000, 5006] are 7 ports, and 10.0.0.1 has 8 nodes" in ports.err
    assert not Path("runs").exists()


def test_names_of_data_sets_complete(decentralized: Decentralized, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_DECENTRALIZED_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "decentralized data fetch mo")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert decentralized().out.split() == ["movielens"]


def test_the_results_of_a_run_that_diverged(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has no NaN: the summary says null."""
    nothing = dict.fromkeys(("mean", "std", "min", "max"))
    summary = {"final": {"test_loss": nothing}, "bytes_sent": 5000, "time_s": 0.5, "rounds": 1, "start_s": 3.25}
    directory = RunDirectory(runs[0])
    directory.summary.write_text(json.dumps(summary))
    print_results(Console(width=80), directory, report=False)
    assert capsys.readouterr().out.splitlines() == [
        "test_loss nan (nodes from nan to nan)",
        "bytes sent 5 kB by all nodes, time 0.5 s for 1 rounds, start 3.2 s",
        f"run directory {runs[0]}",
    ]

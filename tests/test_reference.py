"""The pages that repeat what the code says: they must say the same."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from decentralized import errors
from decentralized.errors import DecentralizedError
from scripts import update_reference

ROOT = Path(__file__).resolve().parent.parent


def test_the_settings_page_is_up_to_date() -> None:
    command = [sys.executable, "-m", "scripts.update_reference", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_stale_settings_page_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update_reference, "PAGE", tmp_path / "settings.md")
    monkeypatch.setattr(sys, "argv", ["update_reference"])
    update_reference.main()
    monkeypatch.setattr(sys, "argv", ["update_reference", "--check"])
    update_reference.main()
    with (tmp_path / "settings.md").open("a") as page:
        page.write("one more line\n")
    with pytest.raises(SystemExit, match="not up to date"):
        update_reference.main()


def test_every_setting_is_documented() -> None:
    rows = [line for line in update_reference.page().splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    for row in rows:
        cells = re.split(r" (?<!\\)\| ", row.strip("| "))
        assert len(cells) == 4, row
        assert len(cells[3]) > 10, row


def test_the_table_of_exit_codes() -> None:
    page = (ROOT / "docs" / "results.md").read_text()
    told = {name: int(code) for code, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", page, re.MULTILINE)}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DecentralizedError)]
    assert told == {kind.__name__: kind.exit_code for kind in kinds if "exit_code" in vars(kind)}

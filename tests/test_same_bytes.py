"""The script that compares what two commits compute: what it takes for a difference, and what it does not."""

import json

import pytest

from tests import same_bytes


def test_times_are_no_difference_and_numbers_are(tmp_path) -> None:
    folders = []
    for number, (seconds, loss) in enumerate(((1.0, 0.5), (2.0, 0.5), (1.0, 0.25))):
        folder = tmp_path / str(number)
        (folder / "states").mkdir(parents=True)
        (folder / "states" / "x").write_text(str(number))
        (folder / "a.json").write_text(json.dumps({"rows": [{"loss": loss, "fit_seconds": seconds}], "date": seconds}))
        lines = [{"step": 0, "memory": {"memory_gb": seconds}}] * number
        lines += [{"step": 1, "loss": loss, "seconds": seconds}]
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "b.npz").write_bytes(b"same" if number < 2 else b"other")
        folders.append(same_bytes.described(folder, "*"))
    assert same_bytes.differences(folders[0], folders[1]) == []
    found = same_bytes.differences(folders[0], folders[2])
    assert "a.json: rows.0.loss: 0.5 -> 0.25" in found and "log.jsonl: 0.loss: 0.5 -> 0.25" in found
    assert len(found) == 3 and found[1].startswith("b.npz: bytes: ")


def test_a_file_that_one_has_alone_is_a_difference() -> None:
    assert same_bytes.differences({"a": {}}, {"a": {}, "b": {}}) == ["b: only after"]


def test_unknown_parts_are_refused(capsys) -> None:
    with pytest.raises(SystemExit):
        same_bytes.main(["HEAD", "HEAD", "--only", "samples"])
    assert "there is no part samples" in capsys.readouterr().err

import json

import pytest

from crystalgraph.io.atomic import write_bytes, write_json, write_text


def test_content_arrives_and_nothing_else_is_left(tmp_path):
    write_bytes(tmp_path / "new" / "folder" / "a.bin", b"\x00\xff")
    write_text(tmp_path / "new" / "folder" / "a.txt", "Å\nsecond\n")
    folder = tmp_path / "new" / "folder"
    assert (folder / "a.bin").read_bytes() == b"\x00\xff"
    assert (folder / "a.txt").read_bytes() == "Å\nsecond\n".encode()
    assert sorted(p.name for p in folder.iterdir()) == ["a.bin", "a.txt"]


def test_json_keeps_order_and_letters(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1.5, None], "a": "Å"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert list(json.loads(text).items()) == [("b", [1.5, None]), ("a", "Å")]
    assert "Å" in text
    assert text.endswith("}\n")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.json"
    write_text(target, "old")
    with pytest.raises(ValueError, match="JSON"):
        write_json(target, {"energy": float("nan")})
    with pytest.raises(TypeError):
        write_bytes(target, "text instead of bytes")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_an_interrupted_move_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "a.txt"
    write_text(target, "old")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_text(target, "new")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]

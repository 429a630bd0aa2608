from crystalgraph.io.cache import cache_folder


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("CRYSTALGRAPH_CACHE", str(tmp_path))
    assert cache_folder("part") == tmp_path / "part"
    assert cache_folder("part", tmp_path / "other") == tmp_path / "other" / "part"
    monkeypatch.delenv("CRYSTALGRAPH_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("part") == tmp_path / ".cache" / "crystalgraph" / "part"
    assert cache_folder("part").is_dir()

import pytest

from crystalgraph.errors import InputError
from crystalgraph.io.powder_patterns import read_powder_pattern

POINTS = [(10 + k / 10, 100 + k) for k in range(60)]


@pytest.mark.parametrize("separator", ["\t", ",", ";", " , ", "  "])
@pytest.mark.parametrize("head", ["", "2theta,counts\n", "! made on a Tuesday\n\n", "\ufeff# 2θ\n"])
def test_patterns_are_read_however_they_are_written(tmp_path, separator, head):
    file = tmp_path / "p.xy"
    lines = [f"{angle:.1f}{separator}{counts}{separator}3" for angle, counts in reversed(POINTS)]
    file.write_bytes((head + "\r\n".join(lines)).encode())
    angles, counts = read_powder_pattern(file)
    assert list(zip(angles, counts, strict=True)) == POINTS


def test_decimal_commas_are_read(tmp_path):
    (tmp_path / "p.xy").write_text("\n".join(f"{angle:.1f} {counts},5".replace(".", ",") for angle, counts in POINTS))
    angles, counts = read_powder_pattern(tmp_path / "p.xy")
    assert angles == [angle for angle, _ in POINTS]
    assert counts == [counts + 0.5 for _, counts in POINTS]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "0 lines with two numbers, and 20"),
        ("a b\n" * 50, "0 lines with two numbers"),
        ("nan inf\n" * 50, "0 lines with two numbers"),
        ("1 2\n" * 50, "from 1 to 1; 2θ in degrees"),
        ("\n".join(f"{k} 1" for k in range(150, 250)), "from 150 to 249"),
        ("\n".join(f"{k} 0" for k in range(10, 90)), "no count is above zero"),
        (b"\x89PNG\r\n\x00\xff" * 100, "0 lines"),
    ],
)
def test_a_file_that_is_none_is_said_in_one_line(tmp_path, text, says):
    file = tmp_path / "none.xy"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=f"none.xy is no pattern: .*{says}") as told:
        read_powder_pattern(file)
    assert "\n" not in str(told.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.xy cannot be read"):
        read_powder_pattern(tmp_path / "nowhere.xy")
    with pytest.raises(InputError, match="cannot be read"):
        read_powder_pattern(tmp_path)

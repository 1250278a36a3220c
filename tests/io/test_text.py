"""Text in the encodings and with the line ends that people's programs write."""

import pytest

from seitpp.io.text import decode_text, markdown_table, scaled, text_lines, unquoted


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(encoding: str, end: str) -> None:
    text = end.join(["ant ", "große Biene\t", "", "cat", "", ""])
    assert text_lines(text.encode(encoding), "classes.txt", "list") == ["ant", "große Biene", "", "cat"]


@pytest.mark.parametrize("mark, encoding", [(b"\xfe\xff", "utf-16-be"), (b"\x00\x00\xfe\xff", "utf-32-be")])
def test_big_ends(mark: bytes, encoding: str) -> None:
    assert decode_text(mark + "größe".encode(encoding), "a", "list") == "größe"


def test_other_separators_stay_in_a_name() -> None:
    assert text_lines("a\x0bb\x85c\u2028d\n".encode(), "a", "list") == ["a\x0bb\x85c\u2028d"]


@pytest.mark.parametrize("content", ["größe".encode("latin-1"), "cat\n".encode("utf-16-le"), b"\xff\xfe\x41"])
def test_other_encodings_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"classes\.txt is not a list in UTF-8: .*; save it"):
        decode_text(content, "classes.txt", "list")


@pytest.mark.parametrize(
    ("text", "plain"), [('"a b"', "a b"), ('"say ""hi"""', 'say "hi"'), ('"', '"'), ('a"b', 'a"b'), ("", "")]
)
def test_quotes_around_a_text(text: str, plain: str) -> None:
    assert unquoted(text) == plain


def test_cells_of_a_markdown_table_keep_their_bars() -> None:
    table = markdown_table(("a", "b"), [("x|y", 2), ("", None)])
    assert table == "| a | b |\n| --- | --- |\n| x\\|y | 2 |\n|  | None |\n"


def test_numbers_are_scaled_by_their_unit() -> None:
    assert [scaled(number, 3) for number in (0, 999, 1234, 21_600_000, 1.07e11, 5e12)] == [
        *("0", "999", "1.23 K", "21.6 M", "107 G", "5 T")
    ]

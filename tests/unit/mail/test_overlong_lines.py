import pytest

from dmarcmilter.mail.overlong_lines import MAX_LINE, SPLIT_WIDTHS, has_overlong_line, split_lines


def lines_of(body):
    return (b"From:" + body).split(b"\r\n")


@pytest.mark.parametrize("size", [MAX_LINE, MAX_LINE + 1])
def test_lines_up_to_the_limit_are_not_overlong(size):
    is_overlong = size > MAX_LINE
    assert has_overlong_line(b"From", b"x" * (size - len(b"From:"))) is is_overlong
    assert has_overlong_line(b"From  ", b"x" * (size - len(b"From:"))) is is_overlong
    assert has_overlong_line(b"From", b" x\r\n" + b" " * size + b"\r\n y") is is_overlong


def test_a_line_is_split_after_the_width_and_the_space_counts():
    text = bytes(range(33, 126)) * 30
    body = split_lines(b"From", b" " + text, 998)
    assert [len(line) for line in lines_of(body)] == [998, 998, 2 + len(text) + 4 - 998 - 997 + 1]
    assert body.replace(b"\r\n ", b"") == b" " + text


@pytest.mark.parametrize("width", SPLIT_WIDTHS)
def test_what_is_within_the_limit_stays(width):
    body = b" " + b"x" * (MAX_LINE - len(b"From: ")) + b"\r\n " + b"y" * (MAX_LINE - 1)
    assert split_lines(b"From", body, width) == body


@pytest.mark.parametrize("width", SPLIT_WIDTHS)
def test_only_the_overlong_line_is_split(width):
    body = b" x\r\n " + b"y" * 2 * width + b"\r\n z"
    first, *middle, last = lines_of(split_lines(b"From", body, width))
    assert (first, last) == (b"From: x", b" z")
    assert len(middle) == 3
    assert max(map(len, middle)) == width


@pytest.mark.parametrize("width", SPLIT_WIDTHS)
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_no_empty_line_is_made(width, more):
    body = b" " + b"x" * (3 * width - 2 + more - len(b"From: "))
    assert all(line.strip() for line in lines_of(split_lines(b"From", body, width)))

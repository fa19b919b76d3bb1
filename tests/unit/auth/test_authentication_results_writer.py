import sys
import tomllib

import authres as oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.auth.authentication_results_reader import parse
from dmarcmilter.auth.authentication_results_writer import LEFT_OUT, MAX_FIELD, MAX_VALUE, MethodResult, render
from tests.support.paths import CASES, SHARED

ID = "mx.example.net"
RENDER = tomllib.loads((CASES / "authres_render.toml").read_text("utf-8"))["case"]
TOOLS = SHARED / "tools"


def result_of(row):
    return MethodResult(
        row["method"],
        row["result"],
        row.get("reason", ""),
        row.get("comment", ""),
        tuple((name, value) for name, value in row.get("properties", ())),
    )


def unfold(field):
    return field.replace("\n\t", " ")


def assert_well_formed(field):
    assert all(" " <= char <= "~" for char in field.replace("\n\t", ""))
    assert len(field) <= MAX_FIELD
    assert all(len(line) < 998 for line in field.split("\n"))
    assert all(line.strip() for line in field.split("\n"))


@pytest.mark.parametrize("case", RENDER, ids=lambda case: case["name"])
def test_render_case(case):
    field = render(ID, [result_of(row) for row in case["results"]])
    assert unfold(field) == case["expected"]
    assert_well_formed(field)
    read = oracle.AuthenticationResultsHeader.parse_value(unfold(field))
    assert [(item.method, item.result) for item in read.results] == [
        (row["method"], row["result"]) for row in case["results"]
    ]


def test_folds_at_results_and_keeps_lines_short():
    # AR-22
    properties = (("header.d", "a" * 40 + ".example"), ("header.s", "b" * 40), ("header.a", "rsa-sha256"))
    field = render(ID, [MethodResult("spf", "pass"), MethodResult("dkim", "pass", properties=properties)])
    assert field.split("\n\t") == [
        f"{ID};",
        "spf=pass;",
        f"dkim=pass header.d={'a' * 40}.example",
        f"header.s={'b' * 40} header.a=rsa-sha256",
    ]


@pytest.mark.parametrize("value", ["a" * 256, "a\0b", "a\x7fb", "\ud800", "\u2028", "é"])
def test_value_that_is_not_fit_is_left_out(value):
    # AR-22
    assert render(ID, [MethodResult("dkim", "pass", properties=(("header.d", value),))]) == f"{ID};\n\tdkim=pass"


def test_later_signatures_give_way():
    value = '"' * MAX_VALUE
    signatures = [
        MethodResult("dkim", "fail", properties=(("header.s", value), ("header.b", str(i)))) for i in range(500)
    ]
    results = [
        MethodResult("spf", "pass"),
        *signatures,
        MethodResult("dmarc", "fail", properties=(("header.from", "a.example"),)),
    ]
    field = render(ID, results)
    assert_well_formed(field)
    read = parse(field.replace("\n", "\r\n").encode())
    assert [item.method for item in read.results if item.method != "dkim"] == ["spf", "dmarc"]
    numbers = [dict(item.properties)["header.b"] for item in read.results if item.method == "dkim"]
    assert numbers == [str(i) for i in range(len(numbers))]
    assert len(numbers) > 5
    assert f"({LEFT_OUT})" in field
    assert field.count(LEFT_OUT) == 1


def test_many_equal_signatures_leave_room_for_the_rest():
    field = render(ID, [MethodResult("dkim", "fail")] * 300 + [MethodResult("dmarc", "fail")])
    assert field.endswith("dmarc=fail")
    assert LEFT_OUT in field


def test_other_results_lose_their_details_before_the_field_grows():
    row = MethodResult("spf", "fail", '"' * 999, "(" * 999, (("smtp.mailfrom", '"' * MAX_VALUE),) * 20)
    field = render(ID, [row, row, row])
    assert unfold(field) == f"{ID}; spf=fail; spf=fail; spf=fail"


@pytest.mark.parametrize("identifier", ["", "a\nb", "é", "a" * 256])
def test_an_unfit_identifier_is_a_bug(identifier):
    with pytest.raises(ValueError, match="authserv-id"):
        render(identifier, [])


@pytest.mark.parametrize(
    "row",
    [
        MethodResult("dk im", "pass"),
        MethodResult("dkim", "pass;"),
        MethodResult("dkim", "pass\n"),
        MethodResult("", "x"),
    ],
)
def test_a_word_that_is_no_keyword_is_a_bug(row):
    with pytest.raises(ValueError, match="keyword"):
        render(ID, [row])


def test_a_property_without_type_is_a_bug():
    with pytest.raises(ValueError, match="property"):
        render(ID, [MethodResult("dkim", "pass", properties=(("reason", "x"),))])


def test_identifier_that_is_no_token_is_quoted():
    assert render("a b", []) == '"a b"; none'


hostile = st.text(max_size=40) | st.text("\"\\();=@. \ta\r\n\0é/'", max_size=30)
properties = st.lists(
    st.tuples(st.sampled_from(["header.d", "header.i", "smtp.mailfrom", "header.b"]), hostile), max_size=4
)
results = st.lists(
    st.builds(
        MethodResult,
        st.sampled_from(["spf", "dkim", "dmarc"]),
        st.just("fail"),
        hostile,
        hostile,
        properties.map(tuple),
    ),
    max_size=5,
)


def fit(value):
    return bool(value) and all(" " <= char <= "~" for char in value)


def expected(rows):
    return [(row.method, "fail", [pair for pair in row.properties if fit(pair[1])]) for row in rows]


@pytest.mark.slow
@given(results)
@settings(max_examples=300, deadline=None)
def test_values_come_back_equal(rows):
    field = render(ID, rows)
    assert_well_formed(field)
    read = parse(field.replace("\n", "\r\n").encode())
    assert read.authserv_id == ID
    assert [(item.method, item.result, list(item.properties)) for item in read.results] == expected(rows)


@pytest.mark.slow
@given(results)
@settings(max_examples=200, deadline=None)
def test_a_strict_parser_agrees(rows):
    if not (TOOLS / "authresparse.py").exists():
        pytest.skip("../shared/tools/authresparse.py is missing: the strict parser was not asked")
    sys.path.insert(0, str(TOOLS))
    try:
        import authresparse
    finally:
        sys.path.remove(str(TOOLS))
    identifier, read = authresparse.parse_strict(render(ID, rows).replace("\n", "\r\n"))
    found = [(method, result, [pair for pair in pairs if pair[0] != "reason"]) for method, result, pairs in read]
    assert (identifier, found) == (ID, expected(rows))


@pytest.mark.slow
@given(results.filter(bool))
@settings(max_examples=200, deadline=None)
def test_the_package_authres_agrees(rows):
    """It loses quoted values that do not stand last, but must see the same results and no other."""
    read = oracle.AuthenticationResultsHeader.parse_value(unfold(render(ID, rows)))
    assert (read.authserv_id, [(item.method, item.result) for item in read.results]) == (
        ID,
        [(row.method, "fail") for row in rows],
    )

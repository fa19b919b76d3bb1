"""Where each key of a TOML text stands: of any text, the same keys that tomllib finds."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from dmarcmilter.config.toml_positions import Position, places, position_of
from tests.support.paths import PROJECT

TEXT = """\
# a comment with a = 1 and [b]
top = 1
"quoted key" = "a # no comment"

[a]
one = 'x = 1'   # x = 2
two = \"\"\"
three = 3
\"\" [no]
\"\"\"
four = [1, [2, 3], { five = 5, six.seven = "7" }]   # , 8
many = [
  "first",  # [
  "second",
]
[a.b]
c = '''
d = 4'''
[[list]]
name = "first"
[[list]]
name = "second"
[list.inner]
e = 2027-01-01
[[list.deep]]
f = true
"""


def test_each_key_and_where_it_stands():
    assert tomllib.loads(TEXT)["a"]["four"][2]["five"] == 5
    assert [(place.path, tuple(place.position)) for place in places(TEXT)] == [
        (("top",), (2, 1)),
        (("quoted key",), (3, 1)),
        (("a",), (5, 1)),
        (("a", "one"), (6, 1)),
        (("a", "two"), (7, 1)),
        (("a", "four"), (11, 1)),
        (("a", "four", 0), (11, 9)),
        (("a", "four", 1), (11, 12)),
        (("a", "four", 1, 0), (11, 13)),
        (("a", "four", 1, 1), (11, 16)),
        (("a", "four", 2), (11, 20)),
        (("a", "four", 2, "five"), (11, 22)),
        (("a", "four", 2, "six", "seven"), (11, 32)),
        (("a", "many"), (12, 1)),
        (("a", "many", 0), (13, 3)),
        (("a", "many", 1), (14, 3)),
        (("a", "b"), (16, 1)),
        (("a", "b", "c"), (17, 1)),
        (("list", 0), (19, 1)),
        (("list", 0, "name"), (20, 1)),
        (("list", 1), (21, 1)),
        (("list", 1, "name"), (22, 1)),
        (("list", 1, "inner"), (23, 1)),
        (("list", 1, "inner", "e"), (24, 1)),
        (("list", 1, "deep", 0), (25, 1)),
        (("list", 1, "deep", 0, "f"), (26, 1)),
    ]


def test_a_key_that_is_not_there_has_the_position_of_what_it_would_be_in():
    assert position_of(TEXT, ("a", "none")) == Position(5, 1)
    assert position_of(TEXT, ("a", "many", 7)) == Position(12, 1)
    assert position_of(TEXT, ("a", "four", 2, "six")) == Position(11, 32)
    assert position_of(TEXT, ("list",)) == Position(19, 1)
    assert position_of(TEXT, ("none", "key")) is None
    assert position_of("", ()) is None


def paths(value, path=()):
    """All paths in what tomllib made of a text."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, below in inner:
        yield (*path, name)
        yield from paths(below, (*path, name))


def found(text):
    return {place.path[:length] for place in places(text) for length in range(1, len(place.path) + 1)}


def test_the_sample_conf_and_the_cases():
    for path in [
        PROJECT / "conf" / "dmarcmilter.toml",
        PROJECT / "pyproject.toml",
        *(PROJECT / "tests" / "cases").glob("*.toml"),
    ]:
        text = path.read_text(encoding="utf-8")
        assert set(paths(tomllib.loads(text))) == found(text), path


NAMES = st.sampled_from(["a", "b", "key", "x-1", '"q = #"', "'[x]'"])
STRINGS = st.one_of(
    st.text("ab #[]{}=,.\\\"'\n", max_size=8).map(
        lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    ),
    st.text('ab #[]{}=,."\\', max_size=8).map(lambda text: f"'{text}'"),
    st.text("ab #[]{}=,.'\n", max_size=8).map(lambda text: f'"""{text}"""'),
    st.text('ab #[]{}=,."\n\\', max_size=8).map(lambda text: f"'''{text}'''"),
)
VALUES = st.recursive(
    st.one_of(STRINGS, st.sampled_from(["1", "-0.5", "true", "2027-01-01", "1_000", "inf"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: f"[{', '.join(values)}]"),
        st.lists(inner, max_size=3).map(
            lambda values: "[ # ]\n" + "".join(f"  {value}, # ,\n" for value in values) + "]"
        ),
        st.dictionaries(st.sampled_from("pqr"), inner.filter(lambda text: "\n" not in text), max_size=2).map(
            lambda table: "{ " + ", ".join(f"{key} = {value}" for key, value in table.items()) + " }"
        ),
    ),
    max_leaves=5,
)
LINES = st.one_of(
    st.tuples(NAMES, VALUES).map(lambda pair: f"{pair[0]} = {pair[1]} # c = 1"),
    st.lists(NAMES, min_size=1, max_size=3).map(lambda names: f"[{' . '.join(names)}]"),
    st.lists(NAMES, min_size=1, max_size=2).map(lambda names: f"[[{'.'.join(names)}]]"),
    st.tuples(NAMES, NAMES, VALUES).map(lambda words: f"  {words[0]}.{words[1]}={words[2]}"),
    st.just("# [comment] = 1"),
)


@given(st.lists(LINES, max_size=8).map("\n".join))
def test_the_same_paths_as_tomllib(text):
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    expected = set(paths(values))
    assert expected == found(text)


@given(st.one_of(st.text(), st.text("a=[]{}\"'#\n., \\", max_size=60)))
def test_any_text_has_an_end(text):
    for place in places(text):
        assert 1 <= place.position.line <= text.count("\n") + 1
        assert place.path

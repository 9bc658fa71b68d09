"""A selection has one name, in either direction; its conditions choose the same rows in Arrow and in SQL's words."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.arrow import SCOPE_KINDS, SCOPES
from stream_processors.core.selection import (
    CONDITION_FIELDS,
    STANDING,
    Conditions,
    Selection,
    Track,
    chosen_rows,
    condition_sql,
    parse_selection,
)

VALUES = st.text(min_size=1, max_size=8)
CONDITIONS: st.SearchStrategy[Conditions] = st.dictionaries(
    st.sampled_from(CONDITION_FIELDS), st.sets(VALUES, min_size=1, max_size=3), max_size=3
).map(lambda found: tuple((name, tuple(sorted(found[name]))) for name in sorted(found)))
SELECTIONS = st.builds(Selection, st.sampled_from(SCOPES), CONDITIONS)


@given(SELECTIONS)
def test_the_text_says_all_and_is_read_back(selection: Selection) -> None:
    assert parse_selection(selection.text) == selection
    assert selection.is_standing is (selection.text in SCOPE_KINDS)
    assert selection.key == ("" if selection.is_standing else selection.text)


@given(SELECTIONS, SELECTIONS)
def test_different_selections_have_different_names(one: Selection, other: Selection) -> None:
    assert (one == other) is (one.text == other.text)


@pytest.mark.parametrize("text", ["", "pod", "user[", "user[colour=red]", "user[model=a", "user[]", "user[model=a b]"])
def test_what_is_no_selection_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="selection"):
        parse_selection(text)


def test_families_name_kind_and_selection() -> None:
    assert Track(Selection("team"), "day").family == "day team"
    assert {selection.key for selection in STANDING} == {""}


def test_rows_are_chosen_by_dictionaries_and_by_plain_text() -> None:
    models = pa.DictionaryArray.from_arrays(pa.array([2, 0, 2, 1], pa.int32()), pa.array(["a", "b", "c", "unused"]))
    rows = pa.RecordBatch.from_arrays([models, pa.array(["t1", "t1", "t2", ""])], ["model", "task"])
    assert chosen_rows(rows, ()).tolist() == [True] * 4
    assert chosen_rows(rows, (("model", ("b", "c")),)).tolist() == [True, False, True, True]
    assert chosen_rows(rows, (("model", ("c",)), ("task", ("t2",)))).tolist() == [False, False, True, False]
    assert chosen_rows(rows, (("model", ("nobody",)),)).tolist() == [False] * 4


def test_in_sql_nothing_ends_a_literal_early() -> None:
    assert condition_sql(()) == "1"
    assert condition_sql((("model", ("it's", "a\\")), ("user", ("ann",)))) == (
        "`model` IN ('it\\'s', 'a\\\\') AND `user` IN ('ann')"
    )

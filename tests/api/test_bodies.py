"""A batch is read item by item, and says the same as one that is read at once."""

from __future__ import annotations

import json

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webob import Request

from controller.api import bodies
from controller.api import items as batches
from controller.api.problems import Problem

texts = st.text(st.sampled_from('ab},{"[]:\\ \n'), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
arrays = st.lists(values, max_size=12)
separators = st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : "), (",\n", ":\t")])


def items(body: bytes, media_type: str = bodies.JSON) -> list[object]:
    request = Request.blank("/v1/vms/batch", method="POST")
    request.headers["Content-Type"] = media_type
    request.body = body
    return list(batches.read_items(request, lambda: None))


@pytest.fixture(autouse=True, scope="module")
def small_slices():
    """Cuts in the middle of everything."""
    kept = batches._SLICE_CHARS, bodies._CHUNK_BYTES
    batches._SLICE_CHARS, bodies._CHUNK_BYTES = 24, 7
    yield
    batches._SLICE_CHARS, bodies._CHUNK_BYTES = kept


@settings(deadline=None)
@given(arrays, separators, st.sampled_from([None, 1]), st.sampled_from(["", " ", "\r\n\t"]))
def test_an_array_in_json(array, separators, indent, around) -> None:
    text = json.dumps(array, separators=separators, indent=indent)
    assert items(f"{around}{text}{around}".encode()) == array


@settings(deadline=None, max_examples=300)
@given(arrays, separators, st.data())
def test_a_damaged_array_is_refused_as_if_read_at_once(array, separators, data) -> None:
    text = json.dumps(array, separators=separators)
    at = data.draw(st.integers(0, len(text)))
    damage = data.draw(st.sampled_from(["", ",", "]", "[", "}", '"', "x", "\\", "{}", " "]))
    damaged = text[:at] + damage + text[at + data.draw(st.integers(0, 2)) :]
    try:
        wanted = json.loads(damaged, object_pairs_hook=bodies.unique)
    except ValueError:
        wanted = None
    if isinstance(wanted, list):
        assert items(damaged.encode()) == wanted
    else:
        with pytest.raises(Problem) as caught:
            items(damaged.encode())
        assert caught.value.status == (400 if wanted is None else 422)


@settings(deadline=None)
@given(arrays, st.sampled_from([b"\n", b"\r\n", b"\n\n \n"]))
def test_lines_and_messagepack(array, ends) -> None:
    assert items(ends.join(json.dumps(item).encode() for item in array), bodies.NDJSON) == array
    assert items(msgpack.packb(array), bodies.MSGPACK) == array


@pytest.mark.parametrize("filler", ['{"a": 1}, ' * 9, '{"a": {"b": 1}, "c": 2}, ' * 9, ""])
def test_a_name_that_is_there_twice_is_named(filler: str) -> None:
    with pytest.raises(Problem, match="'c' is there twice"):
        items(f'[{filler}{{"b": 1, "c": 1, "c": 2}}]'.encode())


@pytest.mark.parametrize("filler", ['{"a": "ä"}, ', '{"a": {"b": "ä"}, "c": 2},\n'])
def test_where_json_is_wrong_is_told_as_of_the_whole_body(filler: str) -> None:
    text = "[" + filler * 9 + '{"a": nonsense}]'
    with pytest.raises(json.JSONDecodeError) as wanted:
        json.loads(text)
    with pytest.raises(Problem) as caught:
        items(text.encode())
    assert str(wanted.value) in caught.value.detail

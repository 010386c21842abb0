"""The operator's word: what is one, and the line that asks for it."""

from __future__ import annotations

import pytest

from dr_provider.model.errors import BadInput
from dr_provider.reconcile.word import Word, ask_for_word, parse_word


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, None),
        ("3: power lost at east", Word(3, "power lost at east")),
        (" 12 :by phone: Ann ", Word(12, "by phone: Ann")),
        ("1: Strom weg, bestätigt", Word(1, "Strom weg, bestätigt")),
    ],
)
def test_a_word_names_an_epoch_and_a_reason(text: str | None, word: Word | None) -> None:
    assert parse_word("shop", text) == word


@pytest.mark.parametrize("text", ["", "yes", "3", "3:", "3:  ", ": reason", "-1: no", "3: two\nlines", "1234567890: x"])
def test_anything_else_is_the_users_fault(text: str) -> None:
    with pytest.raises(BadInput, match="wanted 'EPOCH: REASON'") as error:
        parse_word("shop", text)
    assert "the operator's word for plan shop" in str(error.value)
    assert "nothing was done" in str(error.value)


def test_a_word_is_written_as_it_is_read() -> None:
    word = Word(7, "power lost")
    assert parse_word("shop", str(word)) == word


def test_the_line_to_add_is_given_for_the_stack_and_for_the_command() -> None:
    line = ask_for_word("shop", 3)
    assert 'dr:force: {shop: "3: <reason>"}' in line
    assert '--force "3: <reason>"' in line

import pytest

from messaging import matching
from messaging.models import Rule


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("What is the PRICE?", "price"),
        ("price", "Price"),
        ("price!!!", "price"),
        ("(price)", "price"),
        ("a caf\u00e9", "cafe"),
        ("a cafe\u0301", "CAFÉ"),
        ("Do you have a cafe", "caf\u00e9"),
        ("GRÖßE?", "grosse"),
        ("grosse", "Größe"),
        ("\uff30\uff32\uff29\uff23\uff25", "price"),  # full width
        ("your   opening\nhours?", "opening hours"),
        ("I don\u2019t know", "don't"),
        ("СКОЛЬКО стоит", "сколько"),
        ("Τιμή;", "τιμη"),
        ("مَرْحَبا بك", "مرحبا"),
        ("价格多少", "价格"),
        ("値段はいくらですか", "値段"),
        ("ราคาเท่าไหร่", "ราคา"),
        ("कीमत क्या है", "कीमत"),
        ("love it ❤\ufe0f", "❤"),
        ("👍🏽", "👍"),
        ("ok👍👍", "👍"),
        ("my#sale", "#sale"),
        ("priceless, but what price", "price"),
    ],
)  # fmt: skip
def test_a_word_is_found_however_it_is_written(text, word):
    assert matching.has_word(matching.plain(text), matching.plain(word))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("priceless", "price"),
        ("enterprice", "price"),
        ("price_list", "price"),
        ("50", "5"),
        ("", "price"),
        ("कीमत", "क"),  # a letter without the vowel sign that follows it
        ("صباحا", "صباح"),
    ],
)
def test_a_part_of_a_word_is_not_the_word(text, word):
    assert not matching.has_word(matching.plain(text), matching.plain(word))


def test_vowel_signs_that_make_another_word_count():
    assert matching.plain("कि") != matching.plain("की")
    assert matching.plain("が") != matching.plain("か")


@pytest.mark.parametrize(
    "text", ["STOP", "stop", " Stop. ", "stop!", "\uff33\uff34\uff2f\uff30", "Unsubscribe"]
)
def test_stop_alone_is_a_wish(text):
    assert matching.is_stop(text)


@pytest.mark.parametrize("text", ["When do you stop?", "don't stop", "", "stopp it", "stop " * 20])
def test_stop_within_a_sentence_is_none(text):
    assert not matching.is_stop(text)


def test_start_alone_is_a_wish_too():
    assert matching.is_start("Start!")
    assert not matching.is_start("Where do I start?")


def test_words_are_split_at_commas_of_several_scripts_and_at_line_ends():
    rule = Rule(words="Price, caf\u00e9\nopening  hours\r\n价格、多少\uff0c,PRICE,\ufe0f,")
    assert rule.word_list() == ("price", "cafe", "opening hours", "价格", "多少")

"""Compares what customers write with words: case, accents and forms of a letter do not count."""

import re
import unicodedata

OPTIONAL = re.compile(
    "[\u0300-\u036f"  # accents of Latin, Greek and Cyrillic
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5"  # Hebrew points
    "\u0640\u064b-\u065f\u0670"  # Arabic vowel signs, and the stroke that stretches a word
    "\ufe00-\ufe0f\U0001f3fb-\U0001f3ff]"  # how an emoji is drawn, and its skin
)
"""What people leave out when they are in a hurry. Vowel signs of Indian scripts are no accents."""

UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3040-\u30ff\u31f0-\u31ff"  # Japanese
    "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"  # Chinese
)
"""Scripts that put no spaces between words: there a word ends wherever it ends."""

QUOTES = str.maketrans("\u2019\u2018\u02bc", "'''")
STOP = {"stop", "unsubscribe"}
START = {"start", "unstop"}
LONGEST = 30
"""Of a wish; longer texts need no look."""


def plain(text: str) -> str:
    """`text` as it is compared: folded, without accents, one space between words."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = OPTIONAL.sub("", unicodedata.normalize("NFKD", text))
    text = "".join(char for char in text if unicodedata.category(char) != "Cf")
    return " ".join(unicodedata.normalize("NFC", text).translate(QUOTES).split())


def has_word(text: str, word: str) -> bool:
    """Whether `word` stands in `text` by itself, both being plain."""
    start = text.find(word)
    while start >= 0:
        end = start + len(word)
        if _is_edge(text, start) and _is_edge(text, end):
            return True
        start = text.find(word, start + 1)
    return False


def is_stop(text: str) -> bool:
    """Whether the customer wants no automatic replies: the one word, and nothing else."""
    return _one_word(text) in STOP


def is_start(text: str) -> bool:
    """Whether the customer wants automatic replies again."""
    return _one_word(text) in START


def _one_word(text: str) -> str:
    return plain(text).strip(" .!\"'") if len(text) <= LONGEST else ""


def _is_edge(text: str, place: int) -> bool:
    """Whether a word may begin or end between this character and the one before."""
    sides = text[place - 1 : place + 1] if place else ""
    if len(sides) < 2:
        return True
    return not all(map(_is_of_a_word, sides)) or bool(UNSPACED.search(sides))


def _is_of_a_word(char: str) -> bool:
    return char == "_" or unicodedata.category(char)[0] in "LNM"

"""Noto Sans, cut down to the characters of one document and set to a weight.

The wheel holds one font with an axis of weights. What is left of it after the cut is set to a weight in
milliseconds; the whole font would take half a minute.
"""

from collections.abc import Iterable
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path

from fontpkg_noto_sans import ROOT
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from fontTools.varLib.instancer import instantiateVariableFont

_FILE = ROOT / "files" / "NotoSans[wdth,wght].ttf"
_FULL_WIDTH = 100


@cache
def known_characters() -> frozenset[int]:
    """Return the code points that the font has a glyph for."""
    with _open() as font:
        return frozenset(font.getBestCmap())


def write_cut(file: Path, characters: Iterable[int], weight: float) -> None:
    """Write a font with nothing but these characters in one weight, 100 to 900; the same bytes each time."""
    file.write_bytes(_cut(frozenset(characters), weight))


# Most documents need the same characters, and to cut takes longer than all the rest of a document.
@lru_cache(maxsize=32)
def _cut(characters: frozenset[int], weight: float) -> bytes:
    subsetter = Subsetter(Options(layout_features=[], notdef_outline=True))
    subsetter.populate(unicodes=sorted(characters))
    with _open() as font, BytesIO() as file:
        subsetter.subset(font)
        instantiateVariableFont(font, {"wght": weight, "wdth": _FULL_WIDTH}, inplace=True)
        font.save(file)
        return file.getvalue()


def _open() -> TTFont:
    return TTFont(_FILE, recalcTimestamp=False, lazy=True)

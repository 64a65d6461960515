"""overlay's lowerdir, where it is longer than fsconfig(2) takes as one value."""

from __future__ import annotations

# fsconfig(2): bytes of a value, without its final NUL.
_LONGEST = 255

# Since when overlay takes its layers one by one (overlayfs.rst, "Multiple lower layers").
_ONE_BY_ONE = (6, 8)

_LOWER = "lowerdir="


def split_layers(words: list[str], kernel: tuple[int, int]) -> list[str]:
    """The options of an overlay, with a lowerdir that is too long for one call as `lowerdir+` and `datadir+`.

    mount(2) takes a page of options, so a list of layers made for it may be much longer than what fsconfig(2) takes.
    An older kernel than 6.8 is left to refuse it.
    """
    if kernel < _ONE_BY_ONE:
        return words
    result = []
    for word in words:
        if word.startswith(_LOWER) and len(word.encode("utf-8", "surrogateescape")) - len(_LOWER) > _LONGEST:
            result.extend(_layers(word[len(_LOWER) :]))
        else:
            result.append(word)
    return result


def _layers(value: str) -> list[str]:
    """`a:b::c` as an option for each layer: what follows a double colon has data only.

    Only lowerdir has escapes (`\\:` for a colon in a name): they are undone.
    """
    layers = [""]
    options = ["lowerdir+"]
    characters = iter(value)
    for character in characters:
        if character == "\\":
            layers[-1] += next(characters, "")
        elif character != ":":
            layers[-1] += character
        elif layers[-1] == "" and len(layers) > 1:
            options[-1] = "datadir+"
        else:
            layers.append("")
            options.append("lowerdir+")
    return [f"{option}={layer}" for option, layer in zip(options, layers, strict=True)]

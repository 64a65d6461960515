"""overlay's lowerdir, if it is longer than one value of fsconfig(2)."""

from __future__ import annotations

# fsconfig(2): the bytes of a value, without the final NUL.
_LONGEST = 255

# Since this kernel, overlay takes its layers one by one (overlayfs.rst, "Multiple lower layers").
_ONE_BY_ONE = (6, 8)

_LOWER = "lowerdir="


def split_layers(words: list[str], kernel: tuple[int, int]) -> list[str]:
    """The options of an overlay. A lowerdir that is too long for one call is split into `lowerdir+` and `datadir+`.

    mount(2) takes a page of options, so its list of layers may be much longer than a value of fsconfig(2). Kernels
    before 6.8 refuse such a list.
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
    """`a:b::c` as an option for each layer: layers after a double colon are data-only.

    Only lowerdir has escapes (`\\:` for a colon in a name): they are removed.
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

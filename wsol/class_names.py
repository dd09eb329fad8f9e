"""Finding classes by what people call them."""

from collections.abc import Sequence

from timm.data import ImageNetInfo

_LISTED = 5


def imagenet_names() -> tuple[str, ...]:
    """The 1,000 classes of ILSVRC by class id, with all their synonyms; they come with timm."""
    info = ImageNetInfo("imagenet-1k")
    return tuple(info.index_to_description(index) for index in range(info.num_classes()))


def find_class(wanted: str, class_names: Sequence[str]) -> int:
    """The class id that a number, a name, or a part of one name stands for.

    A whole name, or one of its synonyms between commas, is preferred to a part; capitals do not matter.

    Args:
        wanted: what was asked for.
        class_names: K names, by class id.

    Raises:
        ValueError: if no class, or more than one, answers to it.
    """
    wanted, count = wanted.strip(), len(class_names)
    if wanted.lstrip("-").isdecimal():
        if not 0 <= int(wanted) < count:
            raise ValueError(f"class {wanted} does not exist; the network knows the classes 0 ... {count - 1}.")
        return int(wanted)
    text = wanted.casefold()
    names = [name.casefold() for name in class_names]
    whole = [index for index, name in enumerate(names) if text == name or text in name.split(", ")]
    found = whole or [index for index, name in enumerate(names) if text and text in name]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ValueError(f"no class is called {wanted!r}; give a class id, or a part of one of the names.")
    listed = ", ".join(f"{index} {class_names[index]!r}" for index in found[:_LISTED])
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    raise ValueError(f"class {wanted!r} could be any of {len(found)}: {listed}{more}; give a class id.")

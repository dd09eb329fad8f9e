"""Find classes by number, name or part of a name."""

from collections.abc import Sequence

from timm.data import ImageNetInfo

_LISTED = 5

Classes = int | Sequence[str | int] | None


def imagenet_names() -> tuple[str, ...]:
    """Return the 1,000 classes of ILSVRC by class id, with all their synonyms, from timm."""
    info = ImageNetInfo("imagenet-1k")
    return tuple(info.index_to_description(index) for index in range(info.num_classes()))


def imagenet_classes(subset: str = "imagenet-1k") -> tuple[str, ...]:
    """Return `wnid synonyms` of each class of ImageNet by class id, from timm.

    Args:
        subset: in timm's words, such as `imagenet-1k` or `imagenet-12k`.
    """
    info = ImageNetInfo(subset)
    return tuple(f"{wnid} {info.label_name_to_description(wnid)}" for wnid in info.label_names())


def find_class(wanted: str, class_names: Sequence[str]) -> int:
    """Return the class id that a number, a name, or a part of one name identifies.

    A whole name, or one of its synonyms between commas, is preferred to a part; capitals do not matter.

    Args:
        wanted: number, name or part of a name.
        class_names: K names, by class id.

    Raises:
        ValueError: if no class matches, or more than one.
    """
    wanted, count = wanted.strip(), len(class_names)
    if wanted.lstrip("-").isdecimal():
        if not 0 <= int(wanted) < count:
            raise ValueError(f"class {wanted} does not exist; the network knows the classes 0 ... {count - 1}.")
        return int(wanted)
    text = wanted.casefold()
    names = [name.casefold() for name in class_names]
    whole = [index for index, name in enumerate(names) if text == name or text in name.split(", ")]
    matches = whole or [index for index, name in enumerate(names) if text and text in name]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise ValueError(f"no class is called {wanted!r}; give a class id, or a part of one of the names.")
    listed = ", ".join(f"{index} {class_names[index]!r}" for index in matches[:_LISTED])
    more = f" and {len(matches) - _LISTED} more" if len(matches) > _LISTED else ""
    raise ValueError(f"class {wanted!r} could be any of {len(matches)}: {listed}{more}; give a class id.")


def choose_classes(class_names: Sequence[str], classes: Classes) -> list[int]:
    """Return the class ids of a subset, ascending: ImageNet-100 is `classes=100`.

    Args:
        class_names: K names, by class id.
        classes: a number k for the first k; or a list of what `find_class` accepts, as names or wnids; None for all.

    Raises:
        ValueError: for a class that is unknown or named twice, or a number above K.
    """
    count = len(class_names)
    if classes is None:
        return list(range(count))
    if isinstance(classes, int):
        if not 1 <= classes <= count:
            raise ValueError(f"classes must be 1 ... {count}, as many as there are, got {classes}.")
        return list(range(classes))
    if isinstance(classes, str):
        raise ValueError(f"classes must be a number or a list, got {classes!r}; write classes=[{classes}].")
    try:
        chosen = [find_class(str(name), class_names) for name in classes]
    except ValueError as error:
        some = ", ".join(repr(name) for name in class_names[:_LISTED]) + (", ..." if count > _LISTED else "")
        raise ValueError(f"classes: {error} There are {count}: {some}.") from None
    twice = [class_names[class_id] for class_id in chosen if chosen.count(class_id) > 1]
    if twice or not chosen:
        raise ValueError(f"classes names {twice[0]!r} twice." if twice else "classes=[] leaves none; null keeps all.")
    return sorted(chosen)

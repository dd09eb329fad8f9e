"""Load a trained network by a name of one word."""

from wsol.networks.trained.efficientnet_lite import efficientnet_lite0, efficientnet_lite1, efficientnet_lite2
from wsol.networks.trained.timm import timm_classifier
from wsol.networks.trained.torchvision import torchvision_classifier
from wsol.networks.trained_network import TrainedNetwork

_PACKAGED = {function.__name__: function for function in (efficientnet_lite0, efficientnet_lite1, efficientnet_lite2)}
_LIBRARIES = {"torchvision": torchvision_classifier, "timm": timm_classifier}
_HOW = (
    f"a network is torchvision:NAME, timm:NAME, or {', '.join(_PACKAGED)} (whose weights come with the package "
    "wsol[pretrained])"
)


def named_network(name: str) -> TrainedNetwork:
    """Load a trained classifier with its head, in eval mode.

    Args:
        name: `torchvision:NAME`, `timm:NAME`, or `efficientnet_lite0`, `1` or `2`, which need no download.

    Raises:
        ValueError: for a name that neither library has, listing close names.
        ConnectionError: with a message of one line, if the weights cannot be downloaded.
        ImportError: if the package with the weights is not installed.
    """
    library, _, model = name.partition(":")
    if name in _PACKAGED:
        return _PACKAGED[name]()
    if library not in _LIBRARIES or not model:
        raise ValueError(f"{name!r} is no network; {_HOW}.")
    return _LIBRARIES[library](model)

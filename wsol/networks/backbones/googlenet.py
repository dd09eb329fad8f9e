"""Build a backbone from torchvision's GoogLeNet."""

from torchvision.models import get_model

from wsol.networks.backbone import Backbone
from wsol.networks.pretrained import torchvision_weights
from wsol.networks.trunk import GAP_CONVOLUTION, add_gap_convolution, cut_after, load_trunk, new_parts


def googlenet_gap(weights: str | None = "imagenet") -> Backbone:
    """Build GoogLeNet-GAP: remove all layers after inception4e, add a 3x3 convolution with 1024 units.

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 3.1; with
    `pooling=gmp` it is GoogLeNet-GMP, section 3.2. The network gives 1024 channels and 14 x 14 cells for 224 px; it has
    10,942,656 parameters, of which the 7,668,736 of `conv_gap` are new. The auxiliary classifiers are removed too.

    Differs from the paper in the trunk: torchvision's GoogLeNet has batch norms, and 3x3 convolutions where Szegedy et
    al., "Going Deeper with Convolutions", CVPR 2015, have 5x5.

    The weights were trained on images in [-1, 1] (torchvision's `transform_input` undoes the usual normalization), so
    mean and std are 0.5 here.

    Args:
        weights: weights of the trunk. `imagenet`: torchvision's default weights, downloaded on first use; None: random.

    Raises:
        ValueError: for other weights.
        ConnectionError: if the weights cannot be downloaded.
    """
    state, _, _ = torchvision_weights("googlenet", weights)
    network = get_model("googlenet", weights=None, aux_logits=False, init_weights=state is None)
    trunk = cut_after(network, "inception4e")
    load_trunk(trunk, state)
    half = (0.5, 0.5, 0.5)
    return Backbone(trunk, add_gap_convolution(trunk, 832), half, half, added=new_parts([GAP_CONVOLUTION], weights))

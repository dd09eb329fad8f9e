"""Maps by the methods of the package captum, for comparison."""

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from wsol.maps.other_libraries import PeerMap
from wsol.networks.token_grid import to_grid

Reduction = Literal["sum", "absolute_sum", "absolute_max"]
REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda attributions: attributions.sum(dim=1),
    "absolute_sum": lambda attributions: attributions.abs().sum(dim=1),
    "absolute_max": lambda attributions: attributions.abs().amax(dim=1),
}
# The permutation methods make an image's map depend on the other images of its batch; ShapleyValues needs 2^pixels
# calls; the others are base classes, or make no map of an image.
LEFT_OUT = ("FeaturePermutation", "LayerFeaturePermutation", "ShapleyValues", "LimeBase", "DataLoaderAttribution")
EXPECTED_WARNINGS = (
    r"(?s)Setting forward, backward hooks and attributes on non-linear",
    r"Setting backward hooks on ReLU activations",
    r"You are providing multiple inputs for Lime / Kernel SHAP",
)


@dataclass(frozen=True)
class FromCaptum(PeerMap):
    """A method of captum by the name of its class, such as LayerGradCam, IntegratedGradients, Saliency, Occlusion.

    Methods whose name begins with `Layer` (and InternalInfluence) attribute to the target layer's cells, and their maps
    are on its grid; all others attribute to pixels, and their maps have the image's size. GuidedGradCam reads the
    layer, and attributes to pixels. Maps have any range: captum's LayerGradCam has no ReLU unless the option
    `relu_attributions` is true, and Saliency is absolute unless `abs` is false.

    Options are arguments of the class (`multiply_by_inputs`) or of `attribute` (`n_steps`, `sliding_window_shapes`,
    `strides`, `stdevs`). `baselines` is a number, the grey of an image in [0, 1]; the default is black for methods that
    need a baseline. NoiseTunnel takes `base_method`, a name; with Saliency it is SmoothGrad.

    Attributes:
        channels: how attributions (N, C, h, w) are merged into a map: `sum`, as in captum's own pictures,
            `absolute_sum` or `absolute_max`.
    """

    library: ClassVar[str] = "captum"

    method: str = "LayerGradCam"
    channels: Reduction = "sum"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels not in REDUCTIONS:
            raise ValueError(f"channels must be one of {sorted(REDUCTIONS)}, got {self.channels!r}.")
        if self.method in ("LayerGradCam", "GuidedGradCam") and self.layout != "channels_first":
            raise ValueError(
                f"{self.method} of captum takes a layer of layout 'channels_first', got {self.layout!r}; "
                "wsol.maps.methods.grad_cam.GradCAM takes any."
            )

    def of_one_class(self, network: nn.Module, images: Tensor, class_ids: Tensor) -> Tensor:
        """Return the (N, h, w) maps of (N,) class ids, any range.

        Raises:
            ImportError: if the package is not installed.
            ValueError: for a method, an option or a layer that does not exist, for several layers, or where the
                layer gives no grid.
        """
        try:
            import captum.attr
        except ImportError as error:
            raise self.missing() from error
        if len(self.layer_names) != 1:
            raise ValueError(f"captum attributes to one layer, got {self.layer_names}.")
        base, whole = captum.attr.Attribution, vars(captum.attr)
        abstract = ("Attribution", "GradientAttribution", "PerturbationAttribution", "LayerAttribution")
        methods = {
            name: kind
            for name, kind in whole.items()
            if inspect.isclass(kind) and issubclass(kind, base) and not name.startswith(("Neuron", "LLM", "Remote"))
            if name not in (*LEFT_OUT, *abstract)
        }
        method = self.named(self.method, methods)
        options = dict(self.options)
        if self.method == "NoiseTunnel":
            inner = self.named(options.pop("base_method", "Saliency"), methods)
            attribution, arguments = method(self._build(inner, network, {})), options
            takes = inspect.signature(inner.attribute).parameters
        else:
            to_class, arguments = self.split_options(method.__init__, method.attribute, options)
            attribution = self._build(method, network, to_class)
            takes = inspect.signature(method.attribute).parameters
        if "target" in takes:
            arguments["target"] = class_ids
        _fill_baselines(arguments, takes, images)

        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message, UserWarning)
        attributions = attribution.attribute(images, **arguments)
        if isinstance(attributions, tuple) and len(attributions) == 1:
            attributions = attributions[0]
        if issubclass(method, captum.attr.LayerAttribution):
            attributions = to_grid(attributions, self.layout, self.layer_names[0], self.prefix_tokens)
        return REDUCTIONS[self.channels](attributions)

    def _build(self, method: Any, network: nn.Module, arguments: dict[str, Any]) -> Any:
        if "layer" in inspect.signature(method.__init__).parameters:
            return method(network, self.modules(network)[0], **arguments)
        return method(network, **arguments)


def _fill_baselines(arguments: dict[str, Any], takes: Any, images: Tensor) -> None:
    """Set `baselines` to an image of one grey, in place, if the method accepts baselines and needs or has a grey."""
    if "baselines" not in takes:
        return
    needed = takes["baselines"].default is inspect.Parameter.empty
    grey = arguments.get("baselines", 0.0 if needed else None)
    if isinstance(grey, int | float):
        # Required baselines are a sample of images, and captum expects more than one.
        arguments["baselines"] = torch.full_like(images[:1], grey).repeat(2 if needed else 1, 1, 1, 1).detach()

"""Fit a linear classifier to the features of a frozen network, for new classes, so that CAM localizes them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from wsol.data.image_set import ImageSet
from wsol.data.sample import collate
from wsol.machine import THIS_MACHINE, Machine
from wsol.maps.forward_pass import LAST, forward_pass
from wsol.networks.classifier import Classifier
from wsol.networks.linear_head import check_reads_channels


def pooled_features(classifier: Classifier, images: ImageSet, machine: Machine = THIS_MACHINE) -> tuple[Tensor, Tensor]:
    """Return the pooled features of each image, which a classifier's linear layer would read.

    Args:
        classifier: moved to the device of `machine`; its linear layer is not used.
        images: one split.
        machine: device, batch size, decoding processes and progress bar.

    Returns:
        (N, C) float features and (N,) int64 class ids, on the CPU.

    Raises:
        ValueError: if the head does not pool the channels of the backbone.
    """
    _check(classifier)
    device = machine.device
    classifier = classifier.to(device)
    loader: DataLoader = DataLoader(
        images, batch_size=machine.batch_size, num_workers=machine.workers, collate_fn=collate
    )
    pooled, class_ids = [], []
    hidden = None if machine.progress else True
    for batch in tqdm(loader, desc=f"features of {images.name}", unit="batch", disable=hidden):
        forward = forward_pass(classifier, batch.images.to(device), [LAST], [])
        with torch.no_grad():
            pooled.append(classifier.pooling(forward.activation(LAST)).cpu())
        class_ids.append(batch.class_ids)
    return torch.cat(pooled), torch.cat(class_ids)


def fit_linear(
    features: Tensor, class_ids: Tensor, num_classes: int, l2: float = 0.01, max_iterations: int = 1000
) -> nn.Linear:
    """Fit a linear classifier by multinomial logistic regression on standardized features.

    The fit minimizes the mean cross entropy + l2 / 2 times the sum of squared weights (without the bias) with LBFGS
    from zero, in float64, so that the same features give the same layer. The standardization is folded into weights and
    bias: the layer reads the features unchanged, and CAM with its weights is exact.

    Source: Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, section 4. Differs from
    the paper, which fits a linear SVM.

    Args:
        features: (N, C), pooled.
        class_ids: (N,) int64 in [0, K).
        num_classes: K.
        l2: weight of the penalty, > 0, so that separable classes have a finite solution.
        max_iterations: largest number of iterations of LBFGS.

    Returns:
        Linear layer C -> K, in the features' dtype and on their device, with parameters that require no gradient.

    Raises:
        ValueError: for shapes or ids that do not fit, a class without an image, features that are not finite, or l2
            that is not positive.
    """
    if features.ndim != 2 or class_ids.shape != features.shape[:1]:
        raise ValueError(
            f"features must be (N, C) and class_ids (N,), got {tuple(features.shape)} and {tuple(class_ids.shape)}."
        )
    if l2 <= 0:
        raise ValueError(f"l2 must be above 0, got {l2}.")
    if not features.isfinite().all():
        raise ValueError("features hold NaN or infinity; check the images that they come from.")
    missing = sorted(set(range(num_classes)) - set(class_ids.tolist()))
    if missing or int(class_ids.min()) < 0 or int(class_ids.max()) >= num_classes:
        what = f"class {missing[0]} has no image" if missing else f"got {class_ids.min()} ... {class_ids.max()}"
        raise ValueError(f"class_ids must lie in [0, {num_classes}), each with an image; {what}.")
    with torch.inference_mode(False), torch.enable_grad():
        # Clones, because autograd takes no tensors that were made in the caller's inference mode.
        raw, class_ids = features.detach().clone().double(), class_ids.clone()
        mean, std = raw.mean(dim=0), raw.std(dim=0, correction=0)
        std = torch.where(std > 0, std, 1)  # a constant channel becomes zeros and gets no weight
        standardized = (raw - mean) / std
        weight = torch.zeros(num_classes, raw.shape[1], dtype=raw.dtype, device=raw.device, requires_grad=True)
        bias = torch.zeros(num_classes, dtype=raw.dtype, device=raw.device, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [weight, bias],
            max_iter=max_iterations,
            tolerance_grad=1e-9,
            tolerance_change=1e-12,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

        def loss() -> Tensor:
            optimizer.zero_grad()
            value = F.cross_entropy(standardized @ weight.T + bias, class_ids) + l2 / 2 * weight.square().sum()
            value.backward()
            return value

        optimizer.step(loss)
        linear = nn.Linear(raw.shape[1], num_classes, dtype=features.dtype, device=features.device)
        folded = weight.detach() / std
        linear.weight.data.copy_(folded)
        linear.bias.data.copy_(bias.detach() - folded @ mean)
    return linear.requires_grad_(False)


def with_new_head(classifier: Classifier, linear: nn.Linear) -> Classifier:
    """Return a classifier in eval mode with another linear layer, which shares the backbone and the pooling.

    Backbone and pooling keep their weights and modes; the given classifier keeps its own head.

    Args:
        classifier: a classifier whose head pools the channels of the backbone.
        linear: the new layer, C -> K.

    Raises:
        ValueError: if the layer reads another number of channels than the backbone gives, or the given head does not
            pool the channels.
    """
    _check(classifier)
    if linear.in_features != classifier.backbone.out_channels:
        raise ValueError(
            f"the new head must read {classifier.backbone.out_channels} channels, as the backbone gives, got "
            f"{linear.in_features}."
        )
    replaced = Classifier(classifier.backbone, classifier.pooling, linear.out_features)
    replaced.fc = linear
    replaced.training = False
    return replaced


def _check(classifier: Classifier) -> None:
    check_reads_channels(classifier, "generic features")
    if classifier.pool_site == "scores":
        raise ValueError(
            f"generic features are pooled before the linear layer, and {type(classifier.pooling).__name__} pools class "
            "scores; take pool_site=features."
        )

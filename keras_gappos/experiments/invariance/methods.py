"""The methods that the invariance experiment compares, by name."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Method:
    """A network and how it is trained.

    Attributes:
        title: its name in tables and figures, with `{depth}` for the ResNet's.
        downsampling: the ResNet's.
        padding: the ResNet's.
        views: copies of each training image in a step: 0 is the image itself, unshifted; 1 is one
            random shift, which is a random crop after padding; 2 is AugShift.
        share: of the epochs that the other methods are trained.
    """

    title: str
    downsampling: str = "stride"
    padding: str = "zeros"
    views: int = 1
    share: float = 1.0

    @property
    def cost(self) -> int:
        """Images that go through the network for each training image."""
        return max(1, self.views)

    def epochs(self, epochs: int) -> int:
        """Passes over the training images, at least 1, where the other methods make `epochs`."""
        return max(1, round(self.share * epochs))


METHODS = {  # in the order in which they are trained
    "resnet18": Method("ResNet-{depth}"),
    "blurpool": Method("BlurPool", "blur"),
    "augshift": Method("AugShift", views=2),
    "augshift_blurpool": Method("AugShift + BlurPool", "blur", views=2),
    "augshift_half": Method("AugShift, half", views=2, share=0.5),
    "resnet18_unshifted": Method("ResNet-{depth}, no shift", views=0),
    "aps": Method("APS", "polyphase"),
    "augshift_aps": Method("AugShift + APS", "polyphase", views=2),
    "blurpool_unshifted": Method("BlurPool, no shift", "blur", views=0),
    "aps_unshifted": Method("APS, no shift", "polyphase", views=0),
    "aps_circular": Method("APS, circular", "polyphase", "circular"),
    "lps_circular": Method("LPS, circular", "learned_polyphase", "circular"),
}

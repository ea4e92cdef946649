"""ResNets as PyTorch has them: what is saved of them, and what they compute."""

import numpy as np
import pytest

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
OUTPUTS = 5
# What the shortcut of a block is called.
SHORTCUTS = {"authors": "shortcut", "torchvision": "downsample", "antialiased": "downsample"}


def state_dict(layout, depth=18, width=4, kernel_size=7, heads=("fc",), seed=0):
    """What PyTorch saves of a ResNet, as arrays: its keys in the "authors'" layout, "torchvision"'s
    or "antialiased", whose BlurPools have four taps.
    """
    rng = np.random.default_rng(seed)
    expansion, kernels = (4, (1, 3, 1)) if depth == 50 else (1, (3, 3))
    weights = {}

    def conv(name, inputs, outputs, size):
        weights[f"{name}.weight"] = rng.normal(0, 0.3, (outputs, inputs, size, size))

    def norm(name, channels):
        for part in ("weight", "bias", "running_mean", "running_var"):
            weights[f"{name}.{part}"] = rng.uniform(0.5, 1.5, channels)
        weights[f"{name}.num_batches_tracked"] = np.array(7)

    def blur(name, channels):
        weights[f"{name}.filt"] = np.full((channels, 1, 4, 4), 1 / 16)

    conv("conv1", 3, width, kernel_size)
    norm("bn1", width)
    if layout == "antialiased":
        blur("maxpool.1", width)
    inputs = width
    for stage, count in enumerate(BLOCKS[depth], start=1):
        channels = width * 2 ** (stage - 1)
        for block in range(count):
            name, outputs = f"layer{stage}.{block}", expansion * channels
            halved = layout == "antialiased" and stage > 1 and block == 0
            before = inputs
            for i, size in enumerate(kernels, start=1):
                last, after = i == len(kernels), outputs if i == len(kernels) else channels
                if last and halved:
                    blur(f"{name}.conv{i}.0", before)
                conv(
                    f"{name}.conv{i}.1" if last and halved else f"{name}.conv{i}",
                    before,
                    after,
                    size,
                )
                norm(f"{name}.bn{i}", after)
                before = after
            if inputs != outputs:
                shortcut = f"{name}.{SHORTCUTS[layout]}"
                if halved:
                    blur(f"{shortcut}.0", inputs)
                conv(f"{shortcut}.{1 if halved else 0}", inputs, outputs, 1)
                norm(f"{shortcut}.{2 if halved else 1}", outputs)
            inputs = outputs
    for head in heads:
        if head == "pre_classifier":
            conv(head, inputs, OUTPUTS, 3)
        else:
            weights[f"{head}.weight"] = rng.normal(size=(OUTPUTS, inputs))
        weights[f"{head}.bias"] = rng.normal(size=OUTPUTS)
    return {key: np.asarray(value, "float32") for key, value in weights.items()}


def pytorch_resnet(layout, depth, width, stem, heads):
    """A ResNet of PyTorch's own layers, with random weights and statistics, for inference."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    expansion, kernels = (4, (1, 3, 1)) if depth == 50 else (1, (3, 3))

    class Blur(nn.Module):
        def __init__(self, channels):
            super().__init__()
            taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
            self.register_buffer("filt", torch.outer(taps, taps).expand(channels, 1, 4, 4).clone())

        def forward(self, x):
            x = nn.functional.pad(x, (1, 2, 1, 2), mode="reflect")
            return nn.functional.conv2d(x, self.filt, stride=2, groups=x.shape[1])

    def conv(inputs, outputs, size, stride=1):
        return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)

    class Block(nn.Module):
        def __init__(self, inputs, channels, stride):
            super().__init__()
            outputs = expansion * channels
            blurred = layout == "antialiased" and stride == 2
            before = inputs
            for i, size in enumerate(kernels, start=1):
                after = outputs if i == len(kernels) else channels
                # The first 3x3 convolution has the stride; a BlurPool follows it instead.
                strided = i == kernels.index(3) + 1 and not blurred
                step = conv(before, after, size, stride if strided else 1)
                if blurred and i == len(kernels):
                    step = nn.Sequential(Blur(before), step)
                setattr(self, f"conv{i}", step)
                setattr(self, f"bn{i}", nn.BatchNorm2d(after))
                before = after
            steps = [conv(inputs, outputs, 1, 1 if blurred else stride), nn.BatchNorm2d(outputs)]
            steps = [Blur(inputs), *steps] if blurred else steps
            self.has_shortcut = inputs != outputs
            if self.has_shortcut:
                setattr(self, SHORTCUTS[layout], nn.Sequential(*steps))

        def forward(self, x):
            y = x
            for i in range(1, len(kernels) + 1):
                y = y if i == 1 else y.relu()
                y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            return (y + (getattr(self, SHORTCUTS[layout])(x) if self.has_shortcut else x)).relu()

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = conv(3, width, *((3, 1) if stem == "cifar" else (7, 2)))
            self.bn1 = nn.BatchNorm2d(width)
            if layout == "antialiased":
                self.maxpool = nn.Sequential(nn.MaxPool2d(2, stride=1), Blur(width))
            else:
                pooled = stem == "imagenet"
                self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if pooled else nn.Identity()
            inputs = width
            for stage, count in enumerate(BLOCKS[depth], start=1):
                blocks = []
                for block in range(count):
                    stride = 2 if stage > 1 and block == 0 else 1
                    blocks.append(Block(inputs, width * 2 ** (stage - 1), stride))
                    inputs = expansion * width * 2 ** (stage - 1)
                setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            for head in heads:
                of_maps = head == "pre_classifier"
                layer = nn.Conv2d(inputs, OUTPUTS, 3, padding=1) if of_maps else None
                setattr(self, head, layer or nn.Linear(inputs, OUTPUTS))

        def forward(self, x, permutation=None):
            x = self.maxpool(self.bn1(self.conv1(x)).relu())
            for stage in range(1, 5):
                x = getattr(self, f"layer{stage}")(x)
            if heads[0] == "pre_classifier":
                return self.pre_classifier(x).mean((2, 3))
            x = x.mean((2, 3))
            return getattr(self, heads[0])(x if permutation is None else x[:, permutation])

    torch.manual_seed(0)
    network = Network().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                nn.init.uniform_(values, 0.5, 1.5)
    return network

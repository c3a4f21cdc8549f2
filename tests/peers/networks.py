"""Whole networks, each written once for both libraries: `t` is the library, `nn` its layers."""

from typing import Any

Library = Any


def resnet18(t: Library, nn: Any) -> Any:
    """ResNet-18 in torchvision's layout and names, with a stem for small images."""

    class BasicBlock(nn.Module):  # type: ignore[misc]
        def __init__(self, before: int, planes: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(before, planes, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(planes)
            self.relu = nn.ReLU(inplace=True)
            self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(planes)
            self.downsample = None
            if stride != 1 or before != planes:
                self.downsample = nn.Sequential(
                    nn.Conv2d(before, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
                )

        def forward(self, x: Any) -> Any:
            identity = x if self.downsample is None else self.downsample(x)
            out = self.relu(self.bn1(self.conv1(x)))
            out = self.bn2(self.conv2(out))
            out += identity
            return self.relu(out)

    class ResNet(nn.Module):  # type: ignore[misc]
        def __init__(self, width: int = 16, classes: int = 10) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.relu = nn.ReLU(inplace=True)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
            before = width
            for i in range(4):
                planes, stride = width * 2**i, 1 if i == 0 else 2
                blocks = [BasicBlock(before, planes, stride), BasicBlock(planes, planes, 1)]
                setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
                before = planes
            self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
            self.fc = nn.Linear(before, classes)
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

        def forward(self, x: Any) -> Any:
            x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
            x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
            return self.fc(t.flatten(self.avgpool(x), 1))

    return ResNet()


def tagger(t: Library, nn: Any) -> Any:
    """Tags of the words of sentences, by an LSTM over packed sequences."""
    rnn = nn.utils.rnn

    class Tagger(nn.Module):  # type: ignore[misc]
        def __init__(self, words: int = 30, size: int = 12, hidden: int = 8, tags: int = 5) -> None:
            super().__init__()
            self.embedding = nn.Embedding(words, size, padding_idx=0)
            self.lstm = nn.LSTM(size, hidden, 2, batch_first=True, bidirectional=True)
            self.tags = nn.Linear(2 * hidden, tags)

        def forward(self, words: Any, lengths: Any) -> Any:
            packed = rnn.pack_padded_sequence(
                self.embedding(words), lengths, batch_first=True, enforce_sorted=False
            )
            states, _ = self.lstm(packed)
            padded, _ = rnn.pad_packed_sequence(states, batch_first=True)
            return self.tags(padded)

    return Tagger()


def translator(t: Library, nn: Any) -> Any:
    """A transformer of encoder and decoder, with embedded positions and masks of both kinds."""

    class Translator(nn.Module):  # type: ignore[misc]
        def __init__(self, words: int = 30, size: int = 16, length: int = 12) -> None:
            super().__init__()
            self.source = nn.Embedding(words, size)
            self.target = nn.Embedding(words, size)
            self.positions = nn.Embedding(length, size)
            self.transformer = nn.Transformer(size, 4, 2, 2, 32, dropout=0.0, batch_first=True)
            self.head = nn.Linear(size, words, bias=False)
            self.head.weight = self.target.weight

        def forward(self, source: Any, target: Any) -> Any:
            first = self.source(source) + self.positions(t.arange(source.shape[1]))
            second = self.target(target) + self.positions(t.arange(target.shape[1]))
            length = target.shape[1]
            causal = t.ones(length, length, dtype=t.bool).triu(1)
            padding = source == 0
            out = self.transformer(
                first,
                second,
                tgt_mask=causal,
                src_key_padding_mask=padding,
                memory_key_padding_mask=padding,
            )
            return self.head(out)

    return Translator()


def unet(t: Library, nn: Any) -> Any:
    """A U-Net: halved twice and doubled twice, with what was there before beside it."""

    def double(before: int, after: int) -> Any:
        return nn.Sequential(
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        )

    class UNet(nn.Module):  # type: ignore[misc]
        def __init__(self, width: int = 8, classes: int = 3) -> None:
            super().__init__()
            self.first = double(1, width)
            self.down = nn.ModuleList(
                nn.Sequential(nn.MaxPool2d(2), double(width * k, width * k * 2)) for k in (1, 2)
            )
            self.up = nn.ModuleList(
                nn.ConvTranspose2d(width * k * 2, width * k, 2, stride=2) for k in (2, 1)
            )
            self.after = nn.ModuleList(double(width * k * 2, width * k) for k in (2, 1))
            self.out = nn.Conv2d(width, classes, 1)

        def forward(self, x: Any) -> Any:
            skipped = [self.first(x)]
            for layer in self.down:
                skipped.append(layer(skipped[-1]))
            x = skipped.pop()
            for up, after in zip(self.up, self.after, strict=True):
                x = after(t.cat([skipped.pop(), up(x)], dim=1))
            return self.out(x)

    return UNet()


def generator(t: Library, nn: Any) -> Any:
    """DCGAN's generator of 16x16 images."""
    return nn.Sequential(
        nn.ConvTranspose2d(6, 16, 4, 1, 0, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(True),
        nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(True),
        nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False),
        nn.Tanh(),
    )


def discriminator(t: Library, nn: Any) -> Any:
    """DCGAN's discriminator of 16x16 images."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(8, 16, 4, 2, 1, bias=False),
        nn.BatchNorm2d(16),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(16, 1, 4, 1, 0, bias=False),
        nn.Flatten(0),
    )


def gan(t: Library, nn: Any) -> Any:
    """A generator and a discriminator."""
    return nn.ModuleDict({"g": generator(t, nn), "d": discriminator(t, nn)})

"""CelebA (Liu et al. 2015) as LEAF uses it: faces grouped by celebrity; the label says whether the face smiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from decentralized.data.dataset import DataSet, DataSettings
from decentralized.data.files import missing
from decentralized.data.leaf import Share, labels, read_leaf
from decentralized.types import Facts

SIZE = 84  # pixels; the size that LEAF's model reads


def decode_image(path: Path, share: Share) -> np.ndarray:
    """One image, resized (bicubic) to uint8 (3, 84, 84)."""
    from PIL import Image  # here, because only this data set needs Pillow

    try:
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    except FileNotFoundError:
        raise missing(path, "celeba") from None
    except (OSError, Image.DecompressionBombError) as error:
        raise share.corrupt(f"{path.name} is not an image that can be decoded: {error}") from error
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))


class CelebA:
    """CelebA as uint8 inputs (n, 3, 84, 84); each sample's user is the celebrity."""

    class Config(DataSettings):
        """Settings of CelebA."""

        folder: str = "celeba"
        """Folder below the data root that holds train/*.json, test/*.json and img_align_celeba/."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def load(self, root: Path, seed: int) -> DataSet:
        """Read `<root>/<folder>/{train,test}/*.json` and the images that they name, no others."""
        folder = root / self._config.folder
        images = folder / "img_align_celeba"

        def decode(share: Share) -> tuple[np.ndarray, np.ndarray]:
            for name in share.x:
                if not isinstance(name, str) or Path(name).name != name:
                    raise share.corrupt(f"{name!r} is not the name of an image file")
            return np.stack([decode_image(images / name, share) for name in share.x]), labels(share, 2)

        train, test = read_leaf(folder, "celeba", decode)
        return DataSet(
            task="classification",
            train=train,
            test=test,
            facts=Facts(input_shape=(3, SIZE, SIZE), classes=2),
            mean=(0.5, 0.5, 0.5),  # maps pixels to -1 .. 1
            std=(0.5, 0.5, 0.5),
        )

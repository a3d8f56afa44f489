import pytest
import torch

from myosotis.data.augmentation import crop_and_flip


def test_every_image_has_its_own_shift_and_side():
    image = torch.arange(1, 26, dtype=torch.uint8).view(1, 1, 5, 5).repeat(40, 1, 1, 1)
    found = crop_and_flip(image, torch.Generator().manual_seed(0), padding=1)
    padded = torch.nn.functional.pad(image[0, 0], (1, 1, 1, 1))
    possible = [
        side
        for row in range(3)
        for column in range(3)
        for side in (padded[row : row + 5, column : column + 5], padded[row : row + 5, column : column + 5].flip(1))
    ]
    kinds = {next(place for place, one in enumerate(possible) if torch.equal(one, picture[0])) for picture in found}
    assert len(kinds) > 8
    assert torch.equal(found, crop_and_flip(image, torch.Generator().manual_seed(0), padding=1))
    with pytest.raises(ValueError, match="padding"):
        crop_and_flip(image, torch.Generator(), padding=-1)

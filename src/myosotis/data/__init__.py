"""From sources to examples: reading, checking, tokenising. Nothing is learnt here."""

from typing import TYPE_CHECKING

from myosotis.lazy import lazy_exports

if TYPE_CHECKING:
    from myosotis.data.augmentation import crop_and_flip
    from myosotis.data.image_archives import read_idx, read_torchvision
    from myosotis.data.image_files import UnreadableImageError
    from myosotis.data.image_folders import read_image_folder, read_unlabelled_folder
    from myosotis.data.images import ImageSet, pixel_statistics, to_unit
    from myosotis.data.instance_lists import read_instance_list
    from myosotis.data.mask_sources import MaskSourceConfig, read_masks
    from myosotis.data.masks import MaskedImages, read_pairs
    from myosotis.data.scenes import make_scenes
    from myosotis.data.sets import DataConfig, limited, read_sets
    from myosotis.data.sources import SourceConfig, read_arrays, read_cifar, read_datasets, read_images
    from myosotis.data.views import ViewSettings, two_views
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "augmentation": "crop_and_flip",
            "image_files": "UnreadableImageError",
            "image_archives": "read_idx read_torchvision",
            "image_folders": "read_image_folder read_unlabelled_folder",
            "images": "ImageSet pixel_statistics to_unit",
            "instance_lists": "read_instance_list",
            "mask_sources": "MaskSourceConfig read_masks",
            "masks": "MaskedImages read_pairs",
            "scenes": "make_scenes",
            "sets": "DataConfig limited read_sets",
            "sources": "SourceConfig read_arrays read_cifar read_datasets read_images",
            "views": "ViewSettings two_views",
        },
    )

__all__ = [
    "DataConfig",
    "ImageSet",
    "MaskSourceConfig",
    "MaskedImages",
    "SourceConfig",
    "UnreadableImageError",
    "ViewSettings",
    "crop_and_flip",
    "limited",
    "make_scenes",
    "pixel_statistics",
    "read_arrays",
    "read_cifar",
    "read_datasets",
    "read_idx",
    "read_image_folder",
    "read_images",
    "read_instance_list",
    "read_masks",
    "read_pairs",
    "read_sets",
    "read_torchvision",
    "read_unlabelled_folder",
    "to_unit",
    "two_views",
]

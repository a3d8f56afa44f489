from .augmentation import crop_and_flip as crop_and_flip
from .image_archives import read_idx as read_idx, read_torchvision as read_torchvision
from .image_files import UnreadableImageError as UnreadableImageError
from .image_folders import read_image_folder as read_image_folder, read_unlabelled_folder as read_unlabelled_folder
from .images import ImageSet as ImageSet, pixel_statistics as pixel_statistics, to_unit as to_unit
from .instance_lists import read_instance_list as read_instance_list
from .mask_sources import MaskSourceConfig as MaskSourceConfig, read_masks as read_masks
from .masks import MaskedImages as MaskedImages, read_pairs as read_pairs
from .scenes import make_scenes as make_scenes
from .sets import DataConfig as DataConfig, limited as limited, read_sets as read_sets
from .sources import (
    SourceConfig as SourceConfig,
    read_arrays as read_arrays,
    read_cifar as read_cifar,
    read_datasets as read_datasets,
    read_images as read_images,
)
from .views import ViewSettings as ViewSettings, two_views as two_views

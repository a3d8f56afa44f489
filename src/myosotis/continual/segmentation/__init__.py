"""Class-incremental semantic segmentation."""

"""Class-incremental learning of image classifiers."""

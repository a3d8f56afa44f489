"""Lets ``python -m myosotis`` do what ``myosotis`` does."""

from myosotis.cli import main

if __name__ == "__main__":
    main()

"""Scripts of this folder are no tests."""

collect_ignore = ["moved.py", "plain.py", "tiny_jobs.py", "waits.py"]

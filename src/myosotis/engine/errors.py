"""The one exception that means: the input is wrong, not the program."""


class InputError(ValueError):
    """Something the user gave is wrong: a file, a line, a key, a value.

    Its message is one line that names the culprit and says how to mend it. The command line prints it without a
    traceback and ends with status 2; nothing has been changed on disk when it is raised.
    """

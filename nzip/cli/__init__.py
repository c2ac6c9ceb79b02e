"""The command line: it starts in ``program``, and ``app`` lists the commands."""

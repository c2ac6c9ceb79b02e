"""The command line: ``program`` is where it starts, ``app`` lists the commands."""

"""The subcommands of ``hcs``: one module per command, imported when it is called."""

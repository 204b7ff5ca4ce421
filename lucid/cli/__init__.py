"""The command ``lucid``: one file a subcommand, put together in ``main``.

Each subcommand has ``add_arguments(parser)`` and ``run(options) -> exit code``, and imports what it needs
when it runs, so that ``lucid --help`` answers at once.
"""

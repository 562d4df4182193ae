"""The `koala-middleware` command, with a module for each subcommand.

Nothing else in the package may import it.
"""

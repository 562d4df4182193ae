"""The `koala-middleware` command: one module for each subcommand.

Must not be imported by anything else in the package.
"""

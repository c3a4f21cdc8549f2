"""The command `numbatorch`: a file for each subcommand, which adds its arguments and runs it.

Each imports what it needs when it runs.
"""

"""Operators: records, and public functions beside them. A family loads when it is first used."""

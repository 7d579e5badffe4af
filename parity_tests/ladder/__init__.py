"""The ladder: three computations of one training side by side, and the rule that judges them.

May import nothing else of parity_tests; only the adapters import the two packages.
"""

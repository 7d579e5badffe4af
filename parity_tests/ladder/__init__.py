"""The ladder: reference, port and oracle side by side, and the rule that judges them.

May import program; only the adapters import tf_reference and torch_port, by name.
"""

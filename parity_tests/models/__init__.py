"""The check of any Keras model's port: both sides, their mapping, the ladder, and mistakes.

It imports from `ladder`, `ports` and `torch_port`, and Keras in a process of its own.
"""

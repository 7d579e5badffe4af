"""The check of any Keras model's port: both sides, their mapping, the ladder, and mistakes.

May import ladder, ports and program, and Keras in a process of its own.
"""

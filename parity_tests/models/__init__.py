"""The check of any Keras model's port: both sides, their mapping, the ladder, and mistakes.

May import check with its guest, ladder, ports, program and traps, and Keras in a process of its
own.
"""

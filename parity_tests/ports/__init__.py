"""The port of a Keras model, in a process of its own, whose parts are called one by one.

May import program and check with its guest, which watches programs and will take its place.
"""

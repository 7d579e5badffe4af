"""A Keras model in a process of its own, and the mistakes that can be made in it.

May import check, and Keras.
"""

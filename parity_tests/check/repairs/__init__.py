"""Mending a port of a Keras model: its calls are changed where it runs, and it is judged anew.

May import check and models, whose ladder judges; what is changed runs in guest.
"""

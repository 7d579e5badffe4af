"""The guest: a stranger's program in a process of its own, run as it is, watched, and changed.

May import torch_port, which reads MNIST, and the messages and the samples of check.
"""

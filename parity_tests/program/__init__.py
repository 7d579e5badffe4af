"""The one program around both packages: options, files, log, checkpoints, signals.

May import none of the other folders; only frameworks imports tf_reference and torch_port, by name.
"""

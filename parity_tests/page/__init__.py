"""The pages that people look at: of a run of the proof, and of the check of a port.

May import ladder; what the other folders have measured it reads from their files.
"""

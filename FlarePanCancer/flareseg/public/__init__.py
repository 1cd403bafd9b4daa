"""Models that others publish: what there is, how one is downloaded, and how it becomes one of the user's.

Nothing here is imported unless the user asks for such a model, and nothing but `transport` opens a connection.
"""

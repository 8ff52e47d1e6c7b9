"""What a ranking earns: one metric a file, each with an `evaluate` that takes ranks or relevance and knows no torch.

Lists lie queries first, (queries, depth), best first, as gallery indices; -1 pads a list that is shorter than
the others. A query that a metric does not define a value for is NaN per query and leaves the mean.
"""
